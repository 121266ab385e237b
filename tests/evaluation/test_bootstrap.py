"""mAP from match tables against faster-coco-eval and pycocotools; standard errors against what they estimate."""

import contextlib
import io
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_records import random_records

from gdino_lightning.data.batch import Target
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.bootstrap import NO_BOX, MatchTables, bootstrap_difference, bootstrap_map
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.inference.postprocess import Detections


def pycocotools_map(records: list[PictureRecord], num_classes: int) -> tuple[float, float]:
    """mAP at .50:.95 and .50; every record is a picture of its own, whatever its id."""

    def row(image_id, label, corners):
        x1, y1, x2, y2 = map(float, corners)
        size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        return {"image_id": image_id, "category_id": int(label), "iscrowd": 0, **size}

    truths = [row(i, *each) for i, r in enumerate(records) for each in zip(r.truth_labels, r.truth_boxes, strict=True)]
    found = [
        row(i, label, corners) | {"score": float(score)}
        for i, r in enumerate(records)
        for label, corners, score in zip(r.labels, r.boxes, r.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(records))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": [each | {"id": number} for number, each in enumerate(truths, start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def metric_of(records: list[PictureRecord], num_classes: int) -> CocoMeanAveragePrecision:
    metric = CocoMeanAveragePrecision([str(label) for label in range(num_classes)])
    for each in records:
        boxes = torch.from_numpy(each.truth_boxes)
        target = Target(each.image_id, "", 300, 300, boxes, torch.from_numpy(each.truth_labels), boxes)
        found = [torch.from_numpy(array.copy()) for array in (each.boxes, each.scores, each.labels)]
        metric.update([Detections(*found)], [target])
    return metric


@pytest.mark.parametrize(
    ("num_classes", "num_found"),
    [(3, 30), (1, 250), (8, 5)],  # 250 of one class: only the best 100 count
)
def test_map_of_all_pictures_is_that_of_pycocotools_and_of_the_metric(num_classes, num_found):
    records = random_records(20, num_classes, num_found, seed=num_classes)
    estimate = bootstrap_map(records, num_classes, num_resamples=2)
    expected = pycocotools_map(records, num_classes)
    assert (estimate.map.value, estimate.map_50.value) == pytest.approx(expected, abs=1e-9)
    logged = metric_of(records, num_classes).compute()
    assert estimate.map.value == pytest.approx(float(logged["map"]), abs=1e-6)
    assert estimate.map_50.value == pytest.approx(float(logged["map_50"]), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_that_counts_twice_is_a_picture_that_is_there_twice(seed):
    records = random_records(12, 2, 20, seed=seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(records))
    repeated = [record for record, weight in zip(records, weights.tolist(), strict=True) for _ in range(weight)]
    expected = pycocotools_map(repeated, 2)
    assert MatchTables(records, 2).mean_ap(weights) == pytest.approx(expected, abs=1e-9)


def test_a_perfect_detector_has_no_error_and_a_blind_one_neither():
    truths = random_records(10, seed=4)
    perfect = [
        replace(r, boxes=r.truth_boxes, labels=r.truth_labels, scores=np.ones(len(r.truth_labels))) for r in truths
    ]
    blind = [r.select(np.zeros(len(r.labels), np.bool_)) for r in truths]
    for records, value in ((perfect, 1.0), (blind, 0.0)):
        estimate = bootstrap_map(records, 3)
        assert (estimate.map.value, estimate.map.error, estimate.map.low, estimate.map.high) == (value, 0, value, value)


def test_without_a_true_box_the_value_is_that_of_coco():
    nothing = [replace(r, truth_boxes=r.truth_boxes[:0], truth_labels=r.truth_labels[:0]) for r in random_records(4)]
    estimate = bootstrap_map(nothing, 3)
    assert (estimate.map.value, estimate.map.error) == (NO_BOX, 0)


def test_the_standard_error_is_the_spread_over_new_pictures():
    """What a bootstrap promises: the error from one set of pictures is the spread over many such sets."""
    values = [bootstrap_map(random_records(60, 1, 12, seed=100 + s), 1, num_resamples=2).map.value for s in range(60)]
    errors = [bootstrap_map(random_records(60, 1, 12, seed=100 + s), 1).map.error for s in range(10)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_the_same_seed_gives_the_same_numbers():
    records = random_records(15)
    assert bootstrap_map(records, 3, seed=3) == bootstrap_map(records, 3, seed=3)
    assert bootstrap_map(records, 3, seed=3) != bootstrap_map(records, 3, seed=4)


def worse(records: list[PictureRecord]) -> list[PictureRecord]:
    """The same detections three px away."""
    return [replace(record, boxes=record.boxes + 3) for record in records]


def test_a_difference_is_that_of_the_two_values_and_its_interval_is_narrower_than_theirs():
    records = random_records(60, 2, 12)
    first, second = bootstrap_map(worse(records), 2), bootstrap_map(records, 2)
    difference = bootstrap_difference(worse(records), records, 2)
    assert difference.map.value == pytest.approx(second.map.value - first.map.value)
    assert difference.map_50.value == pytest.approx(second.map_50.value - first.map_50.value)
    assert 0 < difference.map.low <= difference.map.value <= difference.map.high
    assert difference.map.error < 0.6 * np.hypot(first.map.error, second.map.error)


def test_a_run_does_not_differ_from_itself():
    records = random_records(20)
    same = bootstrap_difference(records, records, 3).map
    assert (same.value, same.error, same.low, same.high) == (0, 0, 0, 0)


def test_other_pictures_are_refused():
    records = random_records(5)
    with pytest.raises(ConfigError, match="5 pictures, the other 4"):
        bootstrap_difference(records, records[:4], 3)
    moved = [replace(record, truth_boxes=record.truth_boxes + 1) for record in records]
    with pytest.raises(ConfigError, match="picture 0: its true boxes differ"):
        bootstrap_difference(records, moved, 3)


def test_a_validation_of_usual_size_takes_seconds():
    records = random_records(250, 3, 300)
    begun = process_time()
    bootstrap_map(records, 3, num_resamples=200)
    assert process_time() - begun < 5
