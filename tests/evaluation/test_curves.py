"""Precision over recall, against a curve drawn by hand and pycocotools' own."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_records import random_records

from gdino_lightning.evaluation.curves import precision_recall
from gdino_lightning.evaluation.records import PictureRecord


def test_a_curve_drawn_by_hand():
    # by score: right, wrong, right; a third object is never found
    here, near, nowhere, there = [0, 0, 10, 10], [20, 0, 30, 10], [90, 90, 99, 99], [50, 0, 60, 10]
    one = PictureRecord(
        0,
        np.array([here, near, there], np.float32),
        np.zeros(3, np.int64),
        np.array([here, nowhere, near], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros(3, np.int64),
    )
    (curve,) = precision_recall([one], 1)
    assert curve.num_truths == 3
    assert curve.precision[:34].tolist() == [1.0] * 34  # recalls to 1/3
    assert curve.precision[34:67] == pytest.approx(2 / 3)  # and to 2/3
    assert curve.precision[67:].tolist() == [0.0] * 34
    assert curve.max_recall == 0.66
    assert curve.average_precision == pytest.approx((34 + 33 * 2 / 3) / 101)


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_curves_equal_those_of_pycocotools_also_beyond_a_hundred_detections(iou):
    records = [*random_records(30, seed=3), *random_records(2, num_found=400, seed=4)[:2]]
    records = [PictureRecord(i, *_rest(record)) for i, record in enumerate(records)]
    expected = coco_precision(records, 3, iou)  # (101, 3)
    for label, curve in enumerate(precision_recall(records, 3, iou)):
        assert curve.precision == pytest.approx(expected[:, label], abs=1e-9)


def test_a_class_without_boxes_has_no_average_precision():
    records = random_records(5, num_classes=2)
    *_, curve = precision_recall(records, 3)
    assert curve.num_truths == 0
    assert np.isnan(curve.average_precision)
    assert curve.max_recall == 0


def _rest(record: PictureRecord) -> tuple[np.ndarray, ...]:
    return record.truth_boxes, record.truth_labels, record.boxes, record.scores, record.labels


def coco_precision(records: list[PictureRecord], num_classes: int, iou: float) -> np.ndarray:
    def rows(record, boxes, labels):
        return [
            {"image_id": record.image_id, "category_id": label, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
            for label, (x, y, w, h) in zip(
                labels.tolist(), np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist(), strict=True
            )
        ]

    truth, found = COCO(), COCO()
    annotations = [row for record in records for row in rows(record, record.truth_boxes, record.truth_labels)]
    truth.dataset = {
        "images": [{"id": record.image_id} for record in records],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": [row | {"id": number} for number, row in enumerate(annotations, 1)],
    }
    detections = [
        row | {"score": score}
        for record in records
        for row, score in zip(rows(record, record.boxes, record.labels), record.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(detections)
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, :, 0, -1]
