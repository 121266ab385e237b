"""Accuracy of phrases, counted by hand."""

import pytest
import torch

from gdino_lightning.data.batch import Target
from gdino_lightning.evaluation.protocols.refcoco import PhraseAccuracy
from gdino_lightning.inference.postprocess import Detections

BOX = [10.0, 10.0, 50.0, 50.0]
HALF = [10.0, 10.0, 50.0, 30.0]  # an IoU of exactly .5 with it
LESS = [10.0, 10.0, 50.0, 29.9]
OTHER = [60.0, 60.0, 90.0, 90.0]


def target(image_id, *phrases):
    """(phrase, box) to find."""
    boxes = torch.tensor([box for _, box in phrases]).reshape(-1, 4)
    labels = torch.tensor([phrase for phrase, _ in phrases], dtype=torch.int64)
    return Target(image_id, f"{image_id}.png", 100, 100, boxes / 100, labels, boxes)


def found(*answers):
    """(phrase, box), best first."""
    boxes = torch.tensor([box for _, box in answers]).reshape(-1, 4)
    labels = torch.tensor([phrase for phrase, _ in answers], dtype=torch.int64)
    return Detections(boxes, torch.linspace(0.9, 0.1, len(answers)), labels)


def score(*pairs):
    metric = PhraseAccuracy()
    for detections, truth in pairs:
        metric.update([detections], [truth])
    return tuple(metric.compute()[f"acc@{number}"] for number in (1, 5, 10))


@pytest.mark.parametrize(("box", "right"), [(BOX, 1), (HALF, 1), (LESS, 0), (OTHER, 0)])
def test_the_best_box_is_right_from_half_an_overlap_on(box, right):
    assert score((found((0, box)), target(0, (0, BOX)))) == (right, right, right)


@pytest.mark.parametrize(("place", "expected"), [(1, (1, 1, 1)), (5, (0, 1, 1)), (10, (0, 0, 1)), (11, (0, 0, 0))])
def test_one_of_the_best_has_to_be_right(place, expected):
    answers = [(0, OTHER)] * (place - 1) + [(0, BOX)]
    assert score((found(*answers), target(0, (0, BOX)))) == expected


def test_boxes_of_another_phrase_neither_help_nor_take_a_place():
    answers = found((1, BOX), (1, OTHER), (0, BOX))
    assert score((answers, target(0, (0, BOX)))) == (1, 1, 1)
    assert score((answers, target(0, (0, BOX), (1, OTHER)))) == (0.5, 1, 1)


def test_any_box_of_a_phrase_will_do():
    assert score((found((0, OTHER)), target(0, (0, BOX), (0, OTHER)))) == (1, 1, 1)


def test_captions_count_once_and_those_without_a_box_not_at_all():
    right, wrong = (found((0, BOX)), target(0, (0, BOX))), (found(), target(1, (0, BOX)))
    assert score(right, wrong, right) == (0.5, 0.5, 0.5)
    assert score(right, (found((0, BOX)), target(2))) == (1, 1, 1)
    assert score((found((0, BOX)), target(2))) == (-1, -1, -1)


def test_augmented_pictures_are_refused():
    augmented = target(0, (0, BOX))
    augmented.boxes_px = None
    with pytest.raises(ValueError, match="unaugmented"):
        score((found(), augmented))
