from collections import Counter

import numpy as np
import pytest

from gdino_lightning.data.drawing.heads import CLASSES
from gdino_lightning.data.drawing.plan import Plan, draw_picture, plan_picture
from gdino_lightning.data.drawing.shapes import Shape, paint


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [plan_picture(3, index) for index in range(1000)]


def sides(plan: Plan) -> list[tuple[int, int]]:
    return [(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (head.box for head in plan.heads)]


def test_plan_follows_from_seed_and_index():
    a, b = plan_picture(5, 17), plan_picture(5, 17)
    assert [head.box for head in a.heads] == [head.box for head in b.heads]
    assert np.array_equal(draw_picture(a), draw_picture(b))


def test_one_picture_in_twenty_has_no_head(plans):
    for start in range(0, 1000, 20):
        assert sum(not plan.heads for plan in plans[start : start + 20]) == 1


def test_up_to_six_heads(plans):
    counts = Counter(len(plan.heads) for plan in plans)
    assert set(counts) == set(range(7))
    assert counts[6] >= 40


def test_class_shares(plans):
    labels = Counter(head.label for plan in plans for head in plan.heads)
    total = sum(labels.values())
    shares = [labels[name] / total for name in CLASSES]
    assert shares == pytest.approx([0.55, 0.30, 0.15], abs=0.03)


def test_boxes_lie_inside_and_some_touch_the_edge(plans):
    touching = 0
    for plan in plans:
        for x1, y1, x2, y2 in (head.box for head in plan.heads):
            assert 1 <= x1 < x2 <= plan.width
            assert 1 <= y1 < y2 <= plan.height
            touching += x1 == 1 or x2 == plan.width
    assert touching >= 50


def test_heads_take_15_to_50_percent_of_the_shorter_side(plans):
    shares = [max(side) / min(plan.width, plan.height) for plan in plans for side in sides(plan)]
    assert min(shares) >= 0.15
    assert max(shares) <= 0.505  # rounding to whole pixels
    assert np.ptp(shares) > 0.3


def test_heads_are_12_px_wide_at_training_size(plans):
    widths = [width * 128 / max(plan.width, plan.height) for plan in plans for width, _ in sides(plan)]
    assert min(widths) >= 12


def test_heads_hardly_overlap(plans):
    for plan in plans:
        for i, first in enumerate(plan.heads):
            for second in plan.heads[:i]:
                (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = first.box, second.box
                shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
                both = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
                assert shared / both <= 0.1


def test_no_lower_face_is_hidden(plans):
    # paint every person in a colour of its own, in the picture's order, and see how much of each face is left
    for plan in [plan for plan in plans if len(plan.heads) > 1][:120]:
        together = np.zeros((plan.height, plan.width, 3), np.uint8)
        for number, head in enumerate(plan.heads, start=1):
            flat = [Shape(shape.points, (number, int(shape.boxed), 0)) for shape in head.sketch.shapes]
            paint(together, flat, head.scale, head.origin)
        for number, head in enumerate(plan.heads, start=1):
            x1, y1, x2, y2 = head.box
            inset = round((x2 - x1) * 0.25)
            face = together[(y1 + y2) // 2 : y2 - (y2 - y1) // 6, x1 + inset : x2 - inset, 0]
            assert np.mean(face == number) > 0.97


def test_picture_sizes_are_those_of_the_published_set(plans):
    counts = Counter((plan.width, plan.height) for plan in plans)
    assert {size for size, _ in counts.most_common(2)} == {(301, 400), (400, 267)}
    assert len(counts) >= 8
    assert all(193 <= width <= 600 and 156 <= height <= 600 for width, height in counts)


def test_png_kinds_are_mixed(plans):
    counts = Counter((plan.bits, plan.channels) for plan in plans)
    assert counts[8, 4] / 1000 == pytest.approx(0.70, abs=0.05)
    assert counts[16, 4] / 1000 == pytest.approx(0.15, abs=0.04)
    assert counts[8, 3] / 1000 == pytest.approx(0.10, abs=0.04)
    assert counts[16, 3] / 1000 == pytest.approx(0.05, abs=0.03)


def test_sixteen_bits_hold_the_colours_of_eight():
    index = next(i for i in range(100) if plan_picture(0, i).bits == 16)
    picture = draw_picture(plan_picture(0, index))
    assert picture.dtype == np.uint16
    assert np.array_equal(picture % 257, np.zeros_like(picture))
    assert picture[..., :3].max() > 40_000
