import json

import pytest

from benchmarks import map as benchmark
from benchmarks._scores import Settings, draw, score_ours, score_pycocotools


def test_both_are_timed_on_the_same_boxes_and_agree(capsys, tmp_path):
    output = tmp_path / "folder" / "map.json"
    arguments = ["--pictures=20", "--boxes=30", "--classes=4", "--repeats=1", f"--output={output}"]
    assert benchmark.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "20 pictures, 30 boxes, 4 classes" in printed
    found = json.loads(output.read_text())
    assert found["machine"]["torch"]
    (theirs,), (ours,) = found["ways"]["pycocotools"], found["ways"]["ours"]
    assert 0 < theirs["seconds"] < 60 > ours["seconds"] > 0
    assert max(abs(a - b) for a, b in zip(theirs["scores"], ours["scores"], strict=True)) < 1e-6


def test_the_drawn_boxes_are_neither_all_right_nor_all_wrong(capsys):
    settings = Settings("ours", pictures=30, boxes=40, classes=5)
    pictures = draw(settings)
    scores = score_ours(pictures, settings.classes)
    assert 0.02 < scores[0] < 0.5
    theirs = score_pycocotools(pictures, settings.classes)
    assert max(abs(a - b) for a, b in zip(scores, theirs, strict=True)) < 1e-6


def test_a_size_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["--pictures=0"])
    assert "'0' is not a whole number above 0" in capsys.readouterr().err
