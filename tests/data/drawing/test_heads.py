from itertools import combinations

import cv2
import numpy as np
import pytest

from gdino_lightning.data.drawing.heads import CLASSES, Sketch, head_extent, sketch_head
from gdino_lightning.data.drawing.shapes import Shape, paint

SCALE, ORIGIN = 200.0, (200.0, 200.0)


def sketches(label: str, count: int = 40) -> list[Sketch]:
    return [sketch_head(np.random.default_rng([11, k]), label) for k in range(count)]


def painted(shapes: list[Shape]) -> np.ndarray:
    canvas = np.zeros((400, 400, 3), np.uint8)
    paint(canvas, shapes, SCALE, ORIGIN)
    return canvas


@pytest.mark.parametrize("label", CLASSES)
def test_box_is_tight_round_the_head(label):
    for sketch in sketches(label):
        silhouette = painted([Shape(shape.points, (255, 255, 255)) for shape in sketch.shapes if shape.boxed])
        ys, xs = np.nonzero(silhouette[..., 0] > 127)
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        expected = np.array(head_extent(sketch)) * SCALE + [*ORIGIN, *ORIGIN]
        assert np.abs(seen - expected).max() <= 1.5  # of some 200 pixels


def test_body_goes_on_below_the_head():
    for sketch in sketches("with_mask"):
        lowest = max(shape.points[:, 1].max() for shape in sketch.shapes if not shape.boxed)
        assert lowest > 2 * head_extent(sketch)[3]


def test_classes_differ_on_a_head_of_13_pixels():
    # the same random numbers give the same person: what differs is what tells the classes apart
    for trio in zip(*(sketches(label) for label in CLASSES), strict=True):
        x1, _, x2, _ = head_extent(trio[0])
        shrink = 13 / ((x2 - x1) * SCALE)
        small = [
            cv2.resize(painted(list(s.shapes)), None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) for s in trio
        ]
        for a, b in combinations(small, 2):
            apart = np.abs(a.astype(int) - b).max(axis=2)
            assert np.sum(apart > 40) >= 8  # pixels


def test_heads_vary():
    looks = {painted(list(s.shapes)).tobytes() for label in CLASSES for s in sketches(label, 10)}
    assert len(looks) == 30
