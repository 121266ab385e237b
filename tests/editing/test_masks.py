"""Masks counted by hand, and against a plain-loop distance."""

import math

import numpy as np
import pytest
import torch

from gdino_lightning.editing.masks import Outline, mask_of
from gdino_lightning.errors import ConfigError

HARD = Outline(padding=0, feather=0)


def drawn(boxes: list[list[float]], width: int, height: int, outline: Outline) -> np.ndarray:
    return mask_of(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), width, height, outline)


def test_a_padded_and_feathered_box_counted_by_hand():
    """A third of 3 px is 1 px of padding and 1 px of feather: a ring at half, the box itself whole."""
    mask = drawn([[3, 2, 6, 5]], 10, 8, Outline(padding=1 / 3, feather=1 / 3))
    h, w = 128, 255
    assert mask.dtype == np.uint8
    assert mask.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, h, h, h, h, h, 0, 0, 0],
        [0, 0, h, w, w, w, h, 0, 0, 0],
        [0, 0, h, w, w, w, h, 0, 0, 0],
        [0, 0, h, w, w, w, h, 0, 0, 0],
        [0, 0, h, h, h, h, h, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_padding_stops_at_the_border_of_the_picture_and_nothing_is_mixed_there():
    mask = drawn([[0, 1, 2, 3]], 6, 5, Outline(padding=0.5, feather=0.5))
    h, w = 128, 255
    assert mask.tolist() == [
        [w, w, h, 0, 0, 0],
        [w, w, h, 0, 0, 0],
        [w, w, h, 0, 0, 0],
        [h, h, h, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_lengths_are_shares_of_the_longer_side():
    mask = drawn([[20, 20, 40, 24]], 60, 50, Outline(padding=0.25, feather=0))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (15, 44, 15, 28)


def test_a_pixel_that_a_box_touches_is_in_it():
    rows, columns = np.nonzero(drawn([[2.4, 2.6, 4.1, 4.9]], 10, 10, HARD))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (2, 4, 2, 4)


def test_the_feather_falls_evenly_from_whole_to_nothing():
    mask = drawn([[10, 10, 30, 30]], 40, 40, Outline(padding=0.15, feather=0.15))  # 3 px each
    assert mask[20, 4:14].tolist() == [0, 0, 0, 64, 128, 191, 255, 255, 255, 255]
    assert mask[20, ::-1][4:14].tolist() == mask[20, 4:14].tolist()
    assert mask[:, 20].tolist() == mask[20].tolist()


def test_a_feather_up_to_the_padding_leaves_the_whole_box_replaced():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x1, y1 = (90 * torch.rand(2, generator=generator)).tolist()
        width, height = (1 + 60 * torch.rand(2, generator=generator)).tolist()
        mask = drawn([[x1, y1, x1 + width, y1 + height]], 100, 100, Outline(padding=0.2, feather=0.2))
        inside = mask[math.floor(y1) : math.ceil(y1 + height), math.floor(x1) : math.ceil(x1 + width)]
        assert inside.size > 0
        assert (inside == 255).all()


def test_an_ellipse_has_the_pixels_whose_centres_it_holds():
    mask = drawn([[3, 4, 17, 12]], 20, 16, Outline(padding=0, feather=0, ellipse=True))
    expected = [
        [255 if ((x + 0.5 - 10) / 7) ** 2 + ((y + 0.5 - 8) / 4) ** 2 <= 1 else 0 for x in range(20)] for y in range(16)
    ]
    assert mask.tolist() == expected
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (3, 16, 4, 11)  # it touches all four sides


def test_the_feather_of_an_ellipse_is_its_distance_to_the_outside():
    hard = drawn([[4, 2, 24, 14]], 30, 18, Outline(padding=0, feather=0, ellipse=True))
    soft = drawn([[4, 2, 24, 14]], 30, 18, Outline(padding=0, feather=0.2, ellipse=True))  # 4 px
    outside = np.argwhere(hard == 0)
    for y, x in np.argwhere(hard):
        distance = math.sqrt(((outside - (y, x)) ** 2).sum(1).min())
        assert abs(soft[y, x] - 255 * min(1.0, distance / 5)) <= 1
    assert (soft[hard == 0] == 0).all()


def test_where_regions_overlap_the_higher_value_counts():
    outline = Outline(padding=0.2, feather=0.2)
    boxes = [[5, 5, 15, 15], [12, 8, 22, 18]]
    both = drawn(boxes, 30, 30, outline)
    assert np.array_equal(both, np.maximum(drawn(boxes[:1], 30, 30, outline), drawn(boxes[1:], 30, 30, outline)))


@pytest.mark.parametrize("box", [[40, 2, 50, 8], [-9, -9, -4, -4], [3, 3, 3, 8], [5, 8, 9, 4]])
def test_boxes_outside_the_picture_or_without_an_area_leave_nothing(box):
    assert not drawn([box], 20, 10, Outline()).any()


def test_no_boxes_no_mask():
    assert not drawn([], 7, 5, Outline()).any()


@pytest.mark.parametrize("outline", [Outline(), Outline(ellipse=True, padding=3)])
def test_a_box_far_larger_than_the_picture_covers_it_whole(outline):
    assert (drawn([[-1e7, -1e7, 1e7, 1e7]], 9, 6, outline) == 255).all()


@pytest.mark.parametrize(("name", "value"), [("padding", -0.1), ("feather", -1), ("padding", float("nan"))])
def test_lengths_that_cannot_be_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name):
        Outline(**{name: value})
