"""Objects by size, counted by hand."""

import math

import numpy as np

from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.sizes import SIZES, count_sizes, size_of


def test_the_limits_are_those_of_coco():
    sides = [1, 31.9, 32, 95.9, 96, 500]
    boxes = np.array([[5, 5, 5 + side, 5 + side] for side in sides], np.float32)
    assert [SIZES[size] for size in size_of(boxes)] == ["small", "small", "medium", "medium", "large", "large"]
    assert size_of(np.zeros((0, 4), np.float32)).tolist() == []


def test_boxes_are_counted_by_class_and_size_and_found_by_their_own_class_only():
    small, medium, large = [0, 0, 20, 20], [100, 0, 150, 50], [200, 0, 400, 200]
    record = PictureRecord(
        0,
        np.array([small, medium, large], np.float32),
        np.array([0, 0, 1]),
        np.array([small, large], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([0, 0]),  # the large one is named wrongly
    )
    counts = count_sizes([record, record], 2)
    assert [[(count.total, count.found) for count in row] for row in counts] == [
        [(2, 2), (2, 0), (0, 0)],
        [(0, 0), (0, 0), (2, 0)],
    ]
    assert [counts[0][0].recall, counts[0][1].recall] == [1.0, 0.0]
    assert math.isnan(counts[0][2].recall)
