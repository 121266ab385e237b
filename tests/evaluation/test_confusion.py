"""The confusion matrix, against pictures counted by hand and a plain loop."""

import numpy as np
from hand_made_records import record
from random_records import random_records

from gdino_lightning.evaluation.confusion import confusion_matrix

HERE, THERE, NOWHERE = (0, 0, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90)


def test_hits_mistakes_misses_and_inventions_have_their_cells():
    one = record([(0, HERE), (1, THERE)], [(0.9, 0, HERE), (0.8, 0, THERE), (0.7, 1, NOWHERE)])
    two = record([(1, HERE)], [])
    assert confusion_matrix([one, two], 2).tolist() == [
        [1, 0, 0],  # the 0 was found
        [1, 0, 1],  # one 1 was taken for a 0, one was missed
        [0, 1, 0],  # a 1 was found where nothing is
    ]


def test_an_object_is_what_its_surest_detection_says_and_the_rest_is_background():
    one = record([(0, HERE)], [(0.9, 1, HERE), (0.8, 0, HERE)])
    assert confusion_matrix([one], 2).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_overlap_below_the_limit_is_no_match():
    one = record([(0, HERE)], [(0.9, 0, (0, 0, 10, 6))])  # IoU .6
    assert confusion_matrix([one], 1, iou=0.5).tolist() == [[1, 0], [0, 0]]
    assert confusion_matrix([one], 1, iou=0.7).tolist() == [[0, 1], [1, 0]]


def test_no_pictures_are_zeros():
    assert confusion_matrix([], 3).tolist() == [[0] * 4] * 4


def test_it_agrees_with_a_plain_loop_and_counts_every_box_once():
    records = random_records(40, seed=5)
    expected = np.zeros((4, 4), int)
    for picture in records:
        free = list(range(len(picture.truth_labels)))
        for box, label in zip(picture.boxes.tolist(), picture.labels.tolist(), strict=True):  # best score first
            overlaps = {place: iou(box, picture.truth_boxes[place].tolist()) for place in free}
            best = max(overlaps, key=overlaps.get, default=None)
            if best is not None and overlaps[best] >= 0.5:
                free.remove(best)
                expected[picture.truth_labels[best], label] += 1
            else:
                expected[3, label] += 1
        for place in free:
            expected[picture.truth_labels[place], 3] += 1
    counts = confusion_matrix(records, 3)
    assert counts.tolist() == expected.tolist()
    assert counts[:3].sum() == sum(len(picture.truth_labels) for picture in records)
    assert counts[:, :3].sum() == sum(len(picture.labels) for picture in records)


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
