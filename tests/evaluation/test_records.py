"""Records of pictures, and the matching of detections to true boxes, against COCO's own."""

import numpy as np
import pytest
import torch
from hand_made_records import record
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_records import random_records

from gdino_lightning.data.batch import Target
from gdino_lightning.errors import CheckpointError
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.records import (
    NO_TRUTH,
    PictureRecord,
    RecordSet,
    load_records,
    match,
    match_at,
    num_truths,
    save_records,
)
from gdino_lightning.inference.postprocess import Detections


def test_each_true_box_is_found_once_by_the_best_score_of_its_class():
    here, near, there = (0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60)
    one = record(
        [(0, here), (1, there)],
        [(0.9, 1, here), (0.8, 0, near), (0.7, 0, here), (0.6, 1, there)],
    )
    assert match(one).tolist() == [NO_TRUTH, 0, NO_TRUTH, 1]
    assert match(one, iou=0.95).tolist() == [NO_TRUTH, NO_TRUTH, 0, 1]


def test_of_two_true_boxes_the_one_that_fits_better_is_taken():
    one = record([(0, (0, 0, 10, 10)), (0, (0, 0, 10, 8))], [(0.9, 0, (0, 0, 10, 8)), (0.8, 0, (0, 0, 10, 8))])
    assert match(one).tolist() == [1, 0]


@pytest.mark.parametrize("truth", [[], [(0, (0, 0, 10, 10))]])
def test_empty_sides_match_nothing(truth):
    assert match(record(truth, [])).shape == (0,)
    assert match(record([], [(0.9, 0, (0, 0, 5, 5))])).tolist() == [NO_TRUTH]


def boxes(rng, count):
    corners = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(10, 40, (count, 2))], axis=1).round(2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_matches_are_those_of_pycocotools(seed, iou):
    rng = np.random.default_rng(seed)
    truth = [(int(rng.integers(2)), tuple(box)) for box in boxes(rng, 6)]
    near = [(label, tuple(np.array(box) + rng.normal(0, 2, 4))) for label, box in truth for _ in range(2)]
    found = [(float(score), label, box) for score, (label, box) in zip(rng.permutation(12) / 12, near, strict=True)]
    one = record(truth, sorted(found, reverse=True))
    assert match(one, iou).tolist() == coco_matches(one, iou)


def test_several_thresholds_at_once_are_each_alone():
    for one in random_records(10, num_found=40):
        together = match_at(one, (0.5, 0.65, 0.9))
        assert together.tolist() == [match(one, iou).tolist() for iou in (0.5, 0.65, 0.9)]


def test_an_overlap_of_exactly_the_threshold_matches():
    one = record([(0, (0, 0, 20, 1))], [(0.9, 0, (0, 0, 13, 1))])  # 13/20 is below .65 in single precision
    assert match(one, 0.65).tolist() == [0]


def coco_matches(one: PictureRecord, iou: float) -> list[int]:
    def box(corners):
        x1, y1, x2, y2 = map(float, corners)
        return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}

    truth = COCO()
    truth.dataset = {
        "images": [{"id": 0}],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": [
            {"id": number + 1, "image_id": 0, "category_id": int(label), "iscrowd": 0, **box(corners)}
            for number, (label, corners) in enumerate(zip(one.truth_labels, one.truth_boxes, strict=True))
        ],
    }
    truth.createIndex()
    found = truth.loadRes(
        [
            {"image_id": 0, "category_id": int(label), "score": float(score), **box(corners)}
            for label, score, corners in zip(one.labels, one.scores, one.boxes, strict=True)
        ]
    )
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.params.iouThrs = np.array([iou])
    evaluation.evaluate()
    matched = [NO_TRUTH] * len(one.scores)
    for each in evaluation.evalImgs:
        if each is not None and each["aRng"] == evaluation.params.areaRng[0]:
            for found_id, truth_id in zip(each["dtIds"], each["dtMatches"][0], strict=True):
                matched[found_id - 1] = int(truth_id) - 1
    return matched


def test_the_metric_hands_out_each_picture_once_best_score_first():
    metric = CocoMeanAveragePrecision(["a", "b"])
    corners = torch.tensor([[1.0, 2, 3, 4], [5, 6, 9, 8]])
    target = Target(7, "7.png", 20, 20, corners, torch.tensor([1, 0]), corners)
    found = Detections(corners.flip(0), torch.tensor([0.2, 0.4]), torch.tensor([0, 1]))
    empty = Target(3, "3.png", 20, 20, corners[:0], torch.zeros(0, dtype=torch.int64), corners[:0])
    metric.update([found, found.select(torch.tensor([], dtype=torch.int64))], [target, empty])
    metric.update([found], [target])
    three, seven = metric.records()
    assert (three.image_id, len(three.scores), len(three.truth_labels)) == (3, 0, 0)
    assert seven.scores.tolist() == pytest.approx([0.4, 0.2])
    assert seven.labels.tolist() == [1, 0]
    assert seven.boxes.tolist() == corners.tolist()
    assert seven.truth_boxes.tolist() == corners.tolist()
    assert seven.truth_labels.tolist() == [1, 0]
    assert num_truths([three, seven], 3).tolist() == [1, 1, 0]
    assert metric.compute()["map"] >= 0  # the states are still there


def test_stored_records_come_back_as_they_were(tmp_path):
    records = random_records(6, num_classes=2)
    records[2] = records[2].select(np.zeros(len(records[2].labels), np.bool_))
    stored = RecordSet(("mask", "ohne Maske ü"), tuple(f"{i}.png" for i in range(6)), tuple(records))
    save_records(tmp_path / "report" / "records-test.npz", stored)
    loaded = load_records(tmp_path / "report" / "records-test.npz")
    assert (loaded.class_names, loaded.picture_names) == (stored.class_names, stored.picture_names)
    for ours, theirs in zip(loaded.records, records, strict=True):
        assert ours.image_id == theirs.image_id
        for name in ("truth_boxes", "truth_labels", "boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), strict=True)


@pytest.mark.parametrize("content", [b"", b"PK not a zip", b"PK\x03\x04" + bytes(60)])
def test_damaged_records_are_refused_by_name(tmp_path, content):
    path = tmp_path / "records-test.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or not records"):
        load_records(path)


def test_missing_records_say_what_writes_them(tmp_path):
    with pytest.raises(CheckpointError, match="no such file; `gdino test --ckpt_path"):
        load_records(tmp_path / "report" / "records-test.npz")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("labels", [5], "labels has others than those of 2 classes"),
        ("boxes", [[0, 0, np.nan, 1]], "boxes has numbers that are not finite"),
        ("scores", [], "scores are not a finite number"),
        ("num_found", [7], "num_found says 7"),
        ("picture_names", [], "one name and one count"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, name, values, says):
    one = np.zeros(1, np.int64)
    record = PictureRecord(
        0, np.ones((1, 4), np.float32), one, np.ones((1, 4), np.float32), np.ones(1, np.float32), one
    )
    save_records(tmp_path / "records.npz", RecordSet(("cat", "dog"), ("a.png",), (record,)))
    with np.load(tmp_path / "records.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    np.savez(tmp_path / "records.npz", **arrays | {name: np.array(values, arrays[name].dtype)})
    with pytest.raises(CheckpointError, match=says):
        load_records(tmp_path / "records.npz")
