import json

import pytest
import torch

from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.journal import Journal, PictureResult
from gdino_lightning.inference.postprocess import Detections

SETTINGS = {"phrases": {"cat": "cat"}, "nms_iou": None}


def result(name: str, error: str = "") -> PictureResult:
    return PictureResult(name, f"/x/{name}", None, 40, 30, 1, ((1.0, 2.0, 3.0, 4.0),), (0.5,), (0,), error)


def test_results_come_back_in_the_order_asked_for(tmp_path):
    journal = Journal(tmp_path, SETTINGS)
    journal.writer().append([result("a.png"), result("b.png")])
    journal.writer().append([result("c.png"), result("\udcff.png")])
    assert not journal.has("a.png")  # until it looks again
    journal.refresh()
    assert list(journal.results(["c.png", "none.png", "a.png"])) == [result("c.png"), result("a.png")]
    assert list(Journal(tmp_path, SETTINGS).results(["\udcff.png"])) == [result("\udcff.png")]


def test_a_failure_is_tried_again_and_a_success_stays(tmp_path):
    Journal(tmp_path, SETTINGS, 1).writer().append([result("a.png", "broken"), result("b.png")])
    journal = Journal(tmp_path, SETTINGS)
    assert (journal.has("a.png"), journal.has("b.png")) == (False, True)
    journal.writer().append([result("a.png")])
    Journal(tmp_path, SETTINGS, 2).writer().append([result("a.png", "broken again")])
    journal.refresh()
    assert journal.has("a.png")
    assert [each.error for each in journal.results(["a.png", "b.png"])] == ["", ""]


def test_a_line_that_a_crash_cut_short_counts_for_nothing(tmp_path):
    Journal(tmp_path, SETTINGS).writer().append([result("a.png"), result("b.png")])
    (shard,) = (tmp_path / "results").iterdir()
    shard.write_bytes(shard.read_bytes()[:-20])
    journal = Journal(tmp_path, SETTINGS)
    assert (journal.has("a.png"), journal.has("b.png")) == (True, False)
    journal.writer().append([result("c.png")])
    journal.refresh()
    assert [each.name for each in journal.results(["a.png", "b.png", "c.png"])] == ["a.png", "c.png"]


def test_other_settings_are_refused_with_the_fix(tmp_path):
    Journal(tmp_path, SETTINGS)
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS
    with pytest.raises(ConfigError, match=r"holds results of nms_iou None, asked for is 0\.3: choose another --output"):
        Journal(tmp_path, SETTINGS | {"nms_iou": 0.3})
    with pytest.raises(ConfigError, match="phrases"):
        Journal(tmp_path, SETTINGS | {"phrases": {"dog": "dog"}})
    Journal(tmp_path, SETTINGS)


def test_damaged_files_and_a_file_in_the_way_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        Journal(tmp_path / "file", SETTINGS)
    Journal(tmp_path / "a", SETTINGS).writer().append([result("a.png")])
    (tmp_path / "a" / "results" / "rank-0000.jsonl").write_text("{\n")
    with pytest.raises(ConfigError, match=r"rank-0000\.jsonl: damaged at byte 0"):
        Journal(tmp_path / "a", SETTINGS)
    for line, says in (
        ("5", "no line of `detect`"),
        ('{"name": 5}', "no line"),
        ('{"name": "a"}', "KeyError: 'boxes'"),
    ):
        (tmp_path / "a" / "results" / "rank-0000.jsonl").write_text(line + "\n")
        with pytest.raises(ConfigError, match=rf"damaged at byte 0 \({says}"):
            list(Journal(tmp_path / "a", SETTINGS).results(["a"]))
    (tmp_path / "a" / "settings.json").write_text("null")
    with pytest.raises(ConfigError, match=r"settings\.json: holds no settings"):
        Journal(tmp_path / "a", SETTINGS)
    (tmp_path / "a" / "settings.json").write_text("{")
    with pytest.raises(ConfigError, match=r"settings\.json: cannot be read"):
        Journal(tmp_path / "a", SETTINGS)


def test_boxes_without_an_area_are_left_out_and_numbers_are_short():
    boxes = torch.tensor([[1.23456, 2, 30, 40], [5, 5, 5.001, 9], [0, 30, 9, 30]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 0]))
    kept = PictureResult("a", "a", width=40, height=40).with_found(found)
    assert (kept.boxes, kept.labels) == (((1.23, 2.0, 30.0, 40.0),), (1,))
    assert kept.scores == pytest.approx((0.9,))
    assert PictureResult("a", "a").with_found(found.select(torch.zeros(0, dtype=torch.int64))).boxes == ()


def test_a_turned_picture_has_its_boxes_in_stored_pixels_too():
    # stored 40x30, shown 30x40: orientation 6 is a quarter to the right, so the upper left corner goes to the right
    turned = PictureResult("a", "a", None, 30, 40, 6, ((20.0, 0.0, 30.0, 15.0),), (0.5,), (0,))
    assert turned.stored_size() == (40, 30)
    assert turned.stored_boxes() == [(0.0, 0.0, 15.0, 10.0)]
