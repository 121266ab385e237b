"""Over-detection, counted by hand, by plain loops, and by what must and must not change it."""

import math

import numpy as np
import pytest
from hand_made_records import record

from gdino_lightning.evaluation.over_detection import over_detection, over_detection_names
from gdino_lightning.evaluation.working_point import Found, working_scores
from gdino_lightning.inference.thresholds import Thresholds

LEFT, RIGHT = (0, 0, 10, 10), (50, 0, 60, 10)
ABOVE_LEFT, BELOW_LEFT = (0, 0, 10, 6), (0, 4, 10, 10)  # IoU .6 with LEFT, .2 with one another
NOWHERE = (100, 100, 110, 110)
A, B = 0, 1


def measured(*records, names="ab", thresholds=None):
    return over_detection(records, list(names), thresholds or Thresholds.fixed(len(names)))


def test_every_measure_counted_by_hand():
    crowded = record(
        [(A, LEFT), (A, RIGHT)],
        [
            (0.9, A, ABOVE_LEFT),  # hit
            (0.8, A, BELOW_LEFT),  # duplicate
            (0.7, B, RIGHT),  # of another class: a miss, but no duplicate
            (0.5, A, NOWHERE),  # miss
            (0.3, A, RIGHT),  # below the threshold
        ],
    )
    empty = record([], [(0.6, B, LEFT)], image_id=1)
    values = measured(crowded, empty)
    assert values == pytest.approx(
        {
            "over/boxes_per_object": 5 / 2,
            "over/false_positives": 4 / 2,
            "over/duplicates": 1 / 2,
            "over/hit_score": 0.9,
            "over/miss_score": (0.8 + 0.7 + 0.5 + 0.6) / 4,
            "over/empty_false_positives": 1,
            "over/empty_miss_score": 0.6,
            "over/boxes_per_object/a": 3 / 2,
            "over/false_positives/a": 2 / 2,
            "over/duplicates/a": 1 / 2,
            "over/hit_score/a": 0.9,
            "over/miss_score/a": (0.8 + 0.5) / 2,
            "over/empty_false_positives/a": 0,
            "over/empty_miss_score/a": -1,
            "over/boxes_per_object/b": -1,
            "over/false_positives/b": 2 / 2,
            "over/duplicates/b": -1,
            "over/hit_score/b": -1,
            "over/miss_score/b": (0.7 + 0.6) / 2,
            "over/empty_false_positives/b": 2 / 2,
            "over/empty_miss_score/b": (0.7 + 0.6) / 2,
        }
    )


def test_thresholds_and_suppression_of_each_class_apply_before_counting():
    one = record(
        [(A, LEFT), (B, RIGHT)],
        [(0.9, A, LEFT), (0.85, A, ABOVE_LEFT), (0.8, A, NOWHERE), (0.6, B, RIGHT), (0.55, B, RIGHT), (0.4, B, LEFT)],
    )
    strict_a = measured(one, thresholds=Thresholds(scores=(0.85, 0.35), nms_ious=(0.5, 1.0)))
    assert strict_a["over/boxes_per_object/a"] == 1
    assert strict_a["over/boxes_per_object/b"] == 3
    assert strict_a["over/duplicates/b"] == 1
    strict_b = measured(one, thresholds=Thresholds(scores=(0.35, 0.5), nms_ious=(1.0, 0.5)))
    assert strict_b["over/boxes_per_object/a"] == 3
    assert strict_b["over/boxes_per_object/b"] == 1


def test_a_perfect_model_draws_one_box_for_each_object():
    values = measured(record([(A, LEFT), (B, RIGHT)], [(0.9, A, LEFT), (0.7, B, RIGHT)]))
    assert (values["over/boxes_per_object"], values["over/false_positives"], values["over/duplicates"]) == (1, 0, 0)
    assert values["over/hit_score"] == pytest.approx(0.8)
    assert values["over/miss_score"] == values["over/empty_false_positives"] == -1


def test_800_boxes_for_3_objects_are_seen():
    """They stand behind the true ones in the ranking, so the average precision is 1 all the same."""
    boxes = [(20 * i, 0, 20 * i + 10, 10) for i in range(3)]
    noise = [(0.4, A, (10 * i, 500, 10 * i + 9, 509)) for i in range(797)]
    values = measured(record([(A, box) for box in boxes], [(0.9, A, box) for box in boxes] + noise))
    assert values["over/boxes_per_object"] == pytest.approx(800 / 3)
    assert values["over/false_positives"] == 797
    assert values["over/duplicates"] == 0


@pytest.mark.parametrize("records", [[], [record([], [])], [record([(A, LEFT)], [])]])
def test_where_nothing_is_known_or_found_no_value_is_nan(records):
    values = measured(*records)
    assert list(values) == over_detection_names(["a", "b"])
    assert all(value == -1 or value >= 0 for value in values.values())
    assert not any(math.isnan(value) for value in values.values())


def scattered(rng, num_truth, num_found, num_classes, image_id):
    """A picture in which most detections lie about an object, some of them of another class."""

    def boxes(count):
        corners = rng.uniform(0, 300, (count, 2))
        return np.concatenate([corners, corners + rng.uniform(20, 80, (count, 2))], axis=1)

    truth = boxes(num_truth)
    near = truth[rng.integers(num_truth, size=num_found)] if num_truth else boxes(num_found)
    near = near + rng.normal(0, 6, near.shape)
    labels = rng.integers(num_classes, size=num_truth)
    scores = rng.permutation(num_found) / max(num_found, 1)
    found = zip(scores, rng.integers(num_classes, size=num_found), map(tuple, near), strict=True)
    return record(list(zip(labels, map(tuple, truth), strict=True)), list(found), image_id)


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


def counted(records, label, score, nms):
    """Boxes, misses, duplicates and objects of a class, box by box."""
    boxes = misses = duplicates = objects = 0
    for one in records:
        truth = [b for b, k in zip(one.truth_boxes.tolist(), one.truth_labels, strict=True) if k == label]
        objects += len(truth)
        drawn, free = [], list(range(len(truth)))
        for box, s, k in zip(one.boxes.tolist(), one.scores, one.labels, strict=True):
            if k != label or s < score or any(iou(box, other) > nms for other in drawn):
                continue
            drawn.append(box)
            overlaps = [iou(box, other) for other in truth]
            fits = [i for i in free if overlaps[i] >= 0.5]
            if fits:
                free.remove(max(fits, key=overlaps.__getitem__))
            else:
                misses += 1
                duplicates += max(overlaps, default=0) >= 0.5
        boxes += len(drawn)
    return boxes, misses, duplicates, objects


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_those_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    records = [scattered(rng, int(rng.integers(4)), 30, 2, index) for index in range(12)]
    values = measured(*records, thresholds=Thresholds((0.2, 0.5), (0.9, 0.7)))
    for label, (name, score, nms) in enumerate([("a", 0.2, 0.9), ("b", 0.5, 0.7)]):
        boxes, misses, duplicates, objects = counted(records, label, score, nms)
        assert duplicates > 0
        assert values[f"over/boxes_per_object/{name}"] == pytest.approx(boxes / objects)
        assert values[f"over/false_positives/{name}"] == pytest.approx(misses / 12)
        assert values[f"over/duplicates/{name}"] == pytest.approx(duplicates / objects)


def test_one_look_at_the_working_point_serves_both_measures(monkeypatch):
    records = [scattered(np.random.default_rng(2), 3, 30, 2, index) for index in range(6)]
    split = (records, ["a", "b"], Thresholds((0.2, 0.5), (0.9, 0.7)))
    alone = over_detection(*split) | working_scores(*split)
    found = Found.at(records, split[2])
    monkeypatch.setattr(Found, "at", None)
    assert over_detection(*split, found) | working_scores(*split, found) == alone


def test_the_order_of_pictures_changes_nothing_and_a_picture_twice_changes_no_mean():
    rng = np.random.default_rng(1)
    records = [scattered(rng, index % 3, 20, 2, index) for index in range(6)]
    values = measured(*records)
    assert measured(*records[::-1]) == pytest.approx(values)
    assert measured(*records, *records) == pytest.approx(values)
