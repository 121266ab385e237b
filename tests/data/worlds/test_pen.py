import numpy as np
import pytest

from gdino_lightning.data.worlds.pen import box, flipped, oval, pick, rounded, spokes, symmetric, vary


def test_a_box_has_its_corners_and_a_circle_its_radius():
    assert box(1, 2, 3, 4).tolist() == [[1, 2], [3, 2], [3, 4], [1, 4]]
    assert np.hypot(*(oval(3, 4, 2) - (3, 4)).T) == pytest.approx(np.full(len(oval(3, 4, 2)), 2.0))


def test_a_rounded_box_fills_its_box_but_for_the_corners():
    points = rounded(-2, -1, 2, 1, 0.5)
    assert points.min(axis=0).tolist() == pytest.approx([-2, -1])
    assert points.max(axis=0).tolist() == pytest.approx([2, 1])
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(8 - (4 - np.pi) * 0.25, abs=0.02)


def test_spokes_alternate_between_two_radii_from_the_top():
    points = spokes(5, 2.0, 1.0)
    assert np.hypot(*points.T) == pytest.approx([2, 1] * 5)
    assert points[0] == pytest.approx([0, -2])


def test_symmetric_outlines_equal_their_mirror_image():
    points = symmetric([(0.1, -1.0), (0.5, 0.0), (0.2, 1.0)])
    assert {tuple(p) for p in points.tolist()} == {tuple(p) for p in flipped(points).tolist()}


def test_draws_stay_within_bounds():
    rng = np.random.default_rng(0)
    assert all(0.2 <= vary(rng, 0.2, 0.3) <= 0.3 for _ in range(50))
    assert {pick(rng, "abc") for _ in range(50)} == set("abc")
