import numpy as np
import pytest

from gdino_lightning.data.drawing.shapes import Shape, ellipse, extent, paint, placed, polygon, shade, stroke

SQUARE = polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)])


def test_paint_lands_on_the_pixels_meant():
    canvas = np.zeros((10, 10, 3), np.uint8)
    paint(canvas, [Shape(SQUARE, (200, 100, 50))], scale=2.0, origin=(5.0, 4.0))  # x 3..7, y 2..6
    assert (canvas[3:5, 4:6] == (200, 100, 50)).all()
    assert not canvas[0].any()
    assert not canvas[8:].any()
    coverage = canvas[..., 0] / canvas[..., 0].sum()
    centre = np.arange(10) + 0.5
    assert (coverage.sum(axis=0) @ centre, coverage.sum(axis=1) @ centre) == pytest.approx((5, 4), abs=0.5)


def test_later_shapes_cover_earlier_ones():
    canvas = np.zeros((10, 10, 3), np.uint8)
    paint(canvas, [Shape(SQUARE, (1, 1, 1)), Shape(SQUARE, (2, 2, 2))], 3.0, (5.0, 5.0))
    assert tuple(canvas[5, 5]) == (2, 2, 2)


def test_extent_counts_boxed_shapes_only():
    shapes = [Shape(SQUARE * 9, (0, 0, 0)), Shape(SQUARE * (1, 2), (0, 0, 0), boxed=True)]
    assert extent(shapes) == (-1, -2, 1, 2)


def test_ellipse_lies_on_its_curve():
    points = (ellipse((3, 4), (2, 5)) - (3, 4)) / (2, 5)
    assert np.hypot(*points.T) == pytest.approx(np.ones(len(points)))


def test_placed_scales_then_turns_clockwise():
    (turned,) = placed([Shape(polygon([(1, 0)]), (0, 0, 0))], (2.0, 1.0), 90.0)
    assert turned.points[0] == pytest.approx([0, 2])  # right becomes down


def test_stroke_is_as_wide_as_the_pen():
    outline = stroke(polygon([(0, 0), (4, 0)]), 0.5)
    assert outline[:, 1].min() == pytest.approx(-0.25)
    assert outline[:, 1].max() == pytest.approx(0.25)


def test_shade():
    assert shade((200, 100, 50), 0.5) == (100, 50, 25)
    assert shade((255, 155, 55), 1.5) == (255, 205, 155)
