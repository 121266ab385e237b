"""`gdino world`: the table of zero-shot scores, and what it refuses."""

import pytest

from gdino_lightning.cli import main
from gdino_lightning.evaluation.open_world import answer, ask_scene, quiet_share, row_of, score_row
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer

SMALL = ["--num_images=3", "--num_absent=4", "--size=96", "--threshold=0.02"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_holds_the_scores_of_the_scenes_it_names(capsys):
    assert main(["world", "--weights", "nano-random", *SMALL]) == 0
    head, rule, *rows = capsys.readouterr().out.strip().splitlines()
    assert cells(head)[:3] == ["weights", "scenes", "mAP50 kind"]
    assert cells(head)[-1] == "absent below 0.02"
    assert rule.count("---") == len(cells(head))
    assert [cells(row)[:2] for row in rows] == [["nano-random", "seen"], ["nano-random", "unseen"]]
    questions = [ask_scene(1, index, "unseen", (96, 96), 4) for index in range(3)]
    answers = list(answer(GroundingDetector(random_nano()), nano_tokenizer(), questions))
    kinds = score_row([each for each in answers if row_of(each.phrase) == "kind"])
    assert cells(rows[1])[2] == f"{kinds.map_50:.3f}"
    assert cells(rows[1])[5] == f"{kinds.pooled_50:.3f}"
    assert cells(rows[1])[-1] == f"{quiet_share(answers, 0.02):.3f}"


@pytest.mark.slow
def test_the_shipped_miniature_finds_what_it_is_asked_for_and_keeps_quiet_about_the_rest(capsys):
    assert main(["world", "--num_images=25"]) == 0
    _, _, seen, unseen = (cells(line) for line in capsys.readouterr().out.strip().splitlines())
    for row, kind_and_attribute in ((seen, 0.6), (unseen, 0.4)):
        assert row[0] == "nano"
        assert min(float(row[2]), float(row[3])) >= kind_and_attribute
        assert float(row[-1]) >= 0.9


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--num_images=0", "num_images"),
        ("--num_absent=-1", "num_absent"),
        ("--size=20", "96 px"),
        ("--threshold=35", "threshold"),
        ("--seed=-1", "seed"),
        ("--weights=no/such/run", "no/such/run"),
    ],
)
def test_what_cannot_be_is_refused_by_name(flag, named, capsys):
    assert main(["world", "--weights", "nano-random", *SMALL, flag]) == 2
    assert named in capsys.readouterr().err
