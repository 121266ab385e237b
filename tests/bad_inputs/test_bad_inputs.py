"""The catalogue of bad inputs, row by row: what a user types, and what the user should see."""

import re
from collections import Counter
from importlib.metadata import requires
from pathlib import Path

import lightning.pytorch  # noqa: F401 (first, outside a test: its handler keeps the stderr of that moment)
import pytest
from packaging.requirements import Requirement

from tests.bad_inputs import a_archives, c_csv, g_settings, i_images, r_runs, s_split, x_xml
from tests.bad_inputs.catalogue import ADDED, CATALOGUE, ELSEWHERE

TESTS = Path(__file__).parents[1]
CASES = [
    *x_xml.CASES,
    *i_images.CASES,
    *c_csv.CASES,
    *s_split.CASES,
    *g_settings.CASES,
    *r_runs.CASES,
    *a_archives.CASES,
]


def _ids() -> list[str]:
    """The code of each row; several cases of a row are numbered."""
    total = Counter(case.code for case in CASES)
    seen: Counter[str] = Counter()
    ids = []
    for case in CASES:
        seen[case.code] += 1
        ids.append(f"{case.code}.{seen[case.code]}" if total[case.code] > 1 else case.code)
    return ids


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=_ids())
def test_a_bad_input_is_refused_in_a_line_or_handled_and_told(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    case.make()
    capfd.readouterr()
    with case.around():
        case.outcome.hold(case.command, capfd)


def test_every_row_of_the_catalogue_is_in_the_table_or_held_by_a_test_of_its_own():
    held = {case.code for case in CASES}
    assert held.isdisjoint(ELSEWHERE)
    assert held | ELSEWHERE.keys() == CATALOGUE | ADDED
    assert len(CATALOGUE) == 132


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_test_of_its_own_is_there(row):
    path, _, name = ELSEWHERE[row].partition("::")
    assert re.search(rf"^def {name}\(", (TESTS / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("version", ["2.5.1", "2.9.1"])  # CVE-2025-32434, CVE-2026-24747
def test_no_torch_is_accepted_that_runs_what_a_checkpoint_says(version):
    needed = map(Requirement, requires("gdino-lightning") or ())
    (torch,) = (each for each in needed if each.name == "torch")
    assert version not in torch.specifier
