import json

import pytest

from benchmarks import _full_size, detect
from benchmarks._looks import Settings, with_ours, with_pipeline
from benchmarks.detect import largest_distance
from gdino_lightning.data.table import IMAGES_FOLDER
from gdino_lightning.model.card import CardFacts
from gdino_lightning.model.export import export_hf
from gdino_lightning.model.folder import EvaluationSettings
from gdino_lightning.model.pretrained import load_pretrained


def test_both_ways_see_the_same_boxes(tmp_path):
    evaluation = EvaluationSettings(96, 128, canvas_multiple=32)
    weights = tmp_path / "weights"
    export_hf(load_pretrained("nano"), weights, source="nano", facts=CardFacts(evaluation=evaluation))
    _full_size.draw_split(tmp_path / "split", [(128, 96)] * 3)
    paths = sorted((tmp_path / "split" / IMAGES_FOLDER).iterdir())
    settings = Settings("", str(weights), "", ["cat"])
    theirs = [boxes.tolist() for boxes in with_pipeline(settings)(paths)]
    ours = [boxes.tolist() for boxes in with_ours(settings)(paths)]
    assert [len(boxes) for boxes in ours] == [100, 100, 100] == [len(boxes) for boxes in theirs]
    assert largest_distance(ours, theirs) < 1e-4


def test_a_distance_is_that_of_the_worst_box_to_its_nearest():
    theirs = [[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]]
    assert largest_distance([[[0.0, 0.0, 0.5, 0.5]]], theirs) == 0
    assert largest_distance([[[0.5, 0.5, 1.0, 0.9], [0.0, 0.0, 0.5, 0.5]]], theirs) == pytest.approx(0.1)


def test_both_are_timed(capsys, tmp_path, monkeypatch):
    """With the miniature: the full size takes minutes to load."""
    monkeypatch.setattr(detect, "full_size", lambda: load_pretrained("nano"))
    output = tmp_path / "detect.json"
    assert detect.main(["--pictures=2", "--short_side=96", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    ways = json.loads(output.read_text())["ways"]
    assert list(ways) == ["pipeline", "ours"]
    assert all(run["folder"] > 0 for runs in ways.values() for run in runs)
    assert "largest distance of our boxes" in printed
