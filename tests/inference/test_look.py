"""Runs over folders with a stand-in for the model: what is done once, what is done again, what is written."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from voc_factory import png, write_files

from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.look import Cut, LookRun
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.sources import find_sources

CUT = Cut(box_threshold=0.0, text_threshold=0.0)


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The number of pictures of each call of the model."""
    calls: list[int] = []
    answer = Predictor.answer

    def counting(self, pixels, *others):
        calls.append(len(pixels))
        return answer(self, pixels, *others)

    monkeypatch.setattr(Predictor, "answer", counting)
    return calls


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_pretrained("nano-random", device="cpu", short_side=32, long_side_max=64)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five pictures of two shapes and one that is none."""
    wide = {f"wide{i}.png": png(64, 32, i) for i in range(3)}
    return write_files(
        tmp_path / "in", wide | {"tall0.png": png(32, 64, 7), "b.jpg": b"none", "tall1.png": png(32, 64, 8)}
    )


def run(predictor, folder, output, phrases="cat . dog", saves=("json", "csv"), **changes):
    settings = {"cut": CUT, "saves": saves, "about": {"weights": "nano-random"}} | changes
    looking = LookRun(predictor, phrases, find_sources(str(folder), output), output, **settings)
    looking.run(batch_size=2)
    return looking.finish()


def test_each_picture_is_looked_at_once_with_others_of_its_canvas(predictor, folder, tmp_path, asked):
    summary = run(predictor, folder, tmp_path / "out")
    assert sorted(asked) == [1, 2, 2]
    assert summary.pictures == 5
    assert summary.boxes > 0
    assert len(summary.failures) == 1
    assert "b.jpg: not a picture" in summary.failures[0]


def test_a_second_run_does_only_what_is_missing(predictor, folder, tmp_path, asked):
    run(predictor, folder, tmp_path / "out")
    before = (tmp_path / "out" / "detections.json").read_text()
    asked.clear()
    assert run(predictor, folder, tmp_path / "out").pictures == 5
    assert asked == []
    assert (tmp_path / "out" / "detections.json").read_text() == before
    (folder / "b.jpg").write_bytes(png(64, 32, 9))  # mended
    (folder / "new.png").write_bytes(png(64, 32, 10))
    (folder / "tall0.png").unlink()
    summary = run(predictor, folder, tmp_path / "out")
    assert asked == [2]
    assert (summary.pictures, summary.failures) == (6, ())


def test_an_interrupted_run_keeps_what_was_finished(predictor, folder, tmp_path, asked, monkeypatch):
    look = LookRun.look

    def interrupted(self, batch):
        if len(asked) == 2:
            raise KeyboardInterrupt
        return look(self, batch)

    monkeypatch.setattr(LookRun, "look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(predictor, folder, tmp_path / "out")
    monkeypatch.setattr(LookRun, "look", look)
    first = sum(asked)
    assert run(predictor, folder, tmp_path / "out").pictures == 5
    assert sum(asked) == 5
    assert 0 < first < 5


def test_results_do_not_depend_on_the_batch(predictor, folder, tmp_path):
    run(predictor, folder, tmp_path / "out")
    with (tmp_path / "out" / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("wide1.png", "tall1.png"):
        found = predictor.predict(folder / name, "cat . dog", box_threshold=0.0, text_threshold=0.0)
        scores = sorted((float(row["score"]) for row in rows if row["image_name"] == name), reverse=True)
        assert len(scores) > 0
        assert scores[:5] == pytest.approx(found.scores[:5].tolist(), abs=1e-4)


def test_more_can_be_saved_later_without_the_model(predictor, folder, tmp_path, asked):
    run(predictor, folder, tmp_path / "out")
    asked.clear()
    run(predictor, folder, tmp_path / "out", saves=("pictures", "yolo"))
    assert asked == []
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 5
    assert len(list((tmp_path / "out" / "yolo" / "labels").iterdir())) == 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"phrases": "cat"}, "phrases"),
        ({"cut": Cut(box_threshold=0.1)}, "box_threshold"),
        ({"about": {"weights": "nano"}}, "weights 'nano-random'"),
        ({"saves": ("csv", "gif")}, "gif is nothing that can be saved"),
        ({"cut": Cut(nms_iou=3.0)}, "nms_iou is 3"),
    ],
)
def test_other_settings_are_refused(predictor, folder, tmp_path, changes, says):
    run(predictor, folder, tmp_path / "out")
    with pytest.raises(ConfigError, match=says):
        run(predictor, folder, tmp_path / "out", **changes)


def test_other_weights_under_the_same_name_are_refused(predictor, folder, tmp_path):
    run(predictor, folder, tmp_path / "out")
    other = Predictor.from_pretrained("nano-random", device="cpu", short_side=32, long_side_max=64)
    with torch.no_grad():
        next(iter(other.detector.parameters())).add_(0.1)
    with pytest.raises(ConfigError, match="weights_digest"):
        run(other, folder, tmp_path / "out")


def write_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 32))
    for i in range(frames):
        writer.write(np.full((32, 64, 3), 20 * i, np.uint8))
    writer.release()


def test_a_video_gives_a_drawn_video_and_a_result_for_each_frame(predictor, tmp_path, asked):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "clip.avi", 5)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    summary = run(predictor, tmp_path / "in", tmp_path / "out", saves=("pictures", "json", "voc"))
    assert asked == [2, 2, 1]
    assert summary.pictures == 5
    assert len(summary.failures) == 1
    assert "broken.mp4: no frame can be read" in summary.failures[0]
    names = [each["file_name"] for each in json.loads((tmp_path / "out" / "images.json").read_text())["images"]]
    assert names == [f"clip.avi-{i:06d}.jpg" for i in range(5)]
    drawn = cv2.VideoCapture(str(tmp_path / "out" / "pictures" / "clip.avi.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert len(list((tmp_path / "out" / "voc" / "images").iterdir())) == 5
    asked.clear()
    run(predictor, tmp_path / "in", tmp_path / "out", saves=("pictures", "json", "voc"))
    assert asked == []


def test_a_video_goes_on_at_the_frame_where_it_stopped(predictor, tmp_path, asked, monkeypatch):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "clip.avi", 5)
    look = LookRun.look

    def interrupted(self, batch):
        if asked:
            raise KeyboardInterrupt
        return look(self, batch)

    monkeypatch.setattr(LookRun, "look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(predictor, tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr(LookRun, "look", look)
    assert run(predictor, tmp_path / "in", tmp_path / "out").pictures == 5
    assert asked == [2, 2, 1]
