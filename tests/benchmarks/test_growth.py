import cv2
import pytest

from benchmarks import growth
from benchmarks.growth import AXES, Point, draw
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained


def test_one_thing_grows_at_a_time_and_all_is_told(capsys, tmp_path, monkeypatch):
    """With the miniature: the full size takes minutes."""
    monkeypatch.setattr(growth, "full_size", lambda: Pretrained(random_nano(), nano_tokenizer()))
    monkeypatch.setattr(growth, "SIDE", 96)
    plot = tmp_path / "growth.png"
    axes = ["--axes", "pictures in a batch", "phrases, detecting", "--most", "3", "--steps=1"]
    assert growth.main([*axes, f"--plot={plot}", f"--output={tmp_path / 'growth.json'}"]) == 0
    printed = capsys.readouterr().out
    assert [line.split(" | ")[:2] for line in printed.splitlines()[2:5]] == [
        ["| pictures in a batch", "1"],
        ["| pictures in a batch", "2"],
        ["| phrases, detecting", "3"],
    ]
    assert cv2.imread(str(plot)).shape[1] > 400


def test_a_plot_has_a_column_for_each_thing_that_grows(tmp_path):
    draw([Point(axis, value, 0.1 * value, 100.0) for axis in AXES for value in AXES[axis]], tmp_path / "all.png")
    draw([Point("processes", 1, 0.1, 100.0)], tmp_path / "one.png")
    height, width, _ = cv2.imread(str(tmp_path / "all.png")).shape
    assert cv2.imread(str(tmp_path / "one.png")).shape[0] == height
    assert width == pytest.approx(len(AXES) * cv2.imread(str(tmp_path / "one.png")).shape[1], rel=0.02)
