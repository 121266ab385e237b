"""The catalogue of bad inputs, row by row: what a user types, and what the user should see."""

from collections import Counter

import lightning.pytorch  # noqa: F401 (first, outside a test: its handler keeps the stderr of that moment)
import pytest

from tests.bad_inputs import a_archives, c_csv, g_settings, i_images, r_runs, s_split, x_xml
from tests.bad_inputs.catalogue import ADDED, CATALOGUE, MISSING

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


def test_the_table_holds_every_row_of_the_catalogue_but_those_that_are_named_as_missing():
    held = {case.code for case in CASES}
    assert held.isdisjoint(MISSING)
    assert held | MISSING.keys() == CATALOGUE | ADDED
    assert len(CATALOGUE) == 132
