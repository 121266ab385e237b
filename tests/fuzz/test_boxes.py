"""Boxes and numbers against exact arithmetic with fractions."""

import math
from fractions import Fraction

import pytest
import torch
from fuzzing import fuzz
from hypothesis import strategies as st

from gdino_lightning import boxes
from gdino_lightning.data.fields import box_problem, clip_box, format_number, parse_number, parse_side

Exact = tuple[Fraction, Fraction, Fraction, Fraction]

sides = st.integers(1, 2000)
coordinates = st.floats(-50, 1000, allow_nan=False, width=32)
any_boxes = st.tuples(*[coordinates] * 4)  # inverted and empty ones among them
good_boxes = any_boxes.map(lambda box: (*sorted(box[::2]), *sorted(box[1::2]))).map(
    lambda box: (box[0], box[2], box[1], box[3])
)


def exact(box: tuple[float, ...]) -> Exact:
    x1, y1, x2, y2 = map(Fraction, box)
    return x1, y1, x2, y2


def area(box: Exact) -> Fraction:
    return max(box[2] - box[0], Fraction(0)) * max(box[3] - box[1], Fraction(0))


def common(a: Exact, b: Exact) -> Fraction:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou_and_giou(a: Exact, b: Exact) -> tuple[Fraction, Fraction]:
    """Rezatofighi et al. 2019; 0 / 0 counts as 0."""
    both = common(a, b)
    union = area(a) + area(b) - both
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    iou = both / union if union else Fraction(0)
    return iou, iou - ((hull - union) / hull if hull else 0)


@fuzz(st.lists(good_boxes, min_size=1, max_size=4), st.lists(good_boxes, min_size=1, max_size=4))
def test_overlaps_agree_with_exact_ones_are_bounded_and_symmetric(first, second):
    a, b = (torch.tensor(each, dtype=torch.float64) for each in (first, second))
    iou, giou = boxes.pairwise_iou(a, b), boxes.pairwise_giou(a, b)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            expected = tuple(map(float, iou_and_giou(exact(one), exact(other))))
            assert (iou[i, j].item(), giou[i, j].item()) == pytest.approx(expected, abs=1e-9)
    assert ((iou >= 0) & (iou <= 1) & (giou >= -1) & (giou <= iou + 1e-12)).all()
    assert torch.equal(iou, boxes.pairwise_iou(b, a).T)
    assert torch.allclose(giou, boxes.pairwise_giou(b, a).T, atol=1e-12)
    count = min(len(first), len(second))
    assert torch.equal(boxes.paired_giou(a[:count], b[:count]), giou[:count, :count].diagonal())


@fuzz(st.lists(good_boxes, min_size=1, max_size=4), sides, sides)
def test_formats_round_trip(given, width, height):
    box = torch.tensor(given, dtype=torch.float64)
    assert torch.allclose(boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(box)), box, rtol=0, atol=1e-9)
    norm = boxes.xyxy_px_to_cxcywh_norm(box, width, height)
    assert torch.allclose(boxes.cxcywh_norm_to_xyxy_px(norm, width, height), box, rtol=0, atol=1e-9)


@fuzz(any_boxes, sides, sides)
def test_a_box_is_clipped_alike_as_numbers_and_as_a_tensor_and_only_once(box, width, height):
    clipped = clip_box(box, width, height)
    assert clipped == clip_box(clipped, width, height)
    assert min(clipped) >= 0
    assert max(clipped[::2]) <= width
    assert max(clipped[1::2]) <= height
    as_tensor = boxes.clip_xyxy_px(torch.tensor([box], dtype=torch.float64), width, height)
    assert as_tensor.tolist() == [list(clipped)]


@fuzz(any_boxes, sides, sides)
def test_a_box_can_be_used_exactly_where_a_px_of_it_lies_in_the_picture(box, width, height):
    inside = common(exact(box), exact((0, 0, width, height)))
    problem = box_problem(box, width, height)
    close = abs(inside - 1) < Fraction(1, 10**9)  # of doubles
    assert close or (problem is None) == (box[0] < box[2] and box[1] < box[3] and inside >= 1)
    assert problem is None or len(problem.splitlines()) == 1


@fuzz(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(("", " ", "\n\t")))
def test_a_number_comes_back_as_it_was_written(value, space):
    for text in (repr(value), format_number(value), f"{value:+.17e}"):
        assert parse_number(space + text + space) == value


@fuzz(st.one_of(st.text(max_size=12), st.text("0123456789+-.eE_,nafi ", max_size=12)))
def test_any_text_is_a_number_or_none(text):
    for parse in (parse_number, parse_side):
        try:
            value = parse(text)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017  # either way is right
        else:
            assert math.isfinite(value)
            assert value == float(text)
            assert text.isascii()
            assert "_" not in text
