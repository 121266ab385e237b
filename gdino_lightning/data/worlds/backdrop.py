"""Backgrounds of the drawn world, from flat to busy, in quiet colours that say nothing.

All that is painted here stays close to the background's own colours, which `Backdrop.colours` names: a thing
that differs clearly from those differs clearly from its surroundings.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from gdino_lightning.data.drawing.shapes import Canvas, Colour, distance, jitter, shade
from gdino_lightning.data.worlds.pen import pick

_QUIET: tuple[Colour, ...] = (
    (228, 226, 218), (204, 214, 222), (212, 224, 206), (230, 214, 204), (198, 192, 208), (222, 206, 170),
    (166, 200, 226), (158, 184, 142), (178, 178, 172), (186, 160, 138), (118, 132, 146), (104, 116, 100),
    (92, 84, 96), (64, 70, 80), (54, 64, 58), (76, 62, 62), (46, 48, 66), (40, 40, 44),
)  # fmt: skip
_NEAREST = 95.0  # RGB distance of the two colours of one background
_SHIFT = 0.09  # how far clutter is darker or lighter than the ground


@dataclass(frozen=True)
class Backdrop:
    """A picture (H, W, 3) without things, and the colours that it is made of."""

    canvas: Canvas
    colours: tuple[Colour, ...]


def make_backdrop(rng: np.random.Generator, height: int, width: int) -> Backdrop:
    """Paint a background: flat, gradient, floor, patches, stripes, lines or specks."""
    first = jitter(rng, pick(rng, _QUIET), 8)
    second = _partner(rng, first)
    draw = pick(rng, _GROUNDS)
    canvas = np.ascontiguousarray(draw(rng, height, width, first, second))
    return Backdrop(canvas, (first, second, _mixed(first, second)))


def _partner(rng: np.random.Generator, colour: Colour) -> Colour:
    near = [other for other in _QUIET if distance(colour, other) < _NEAREST]
    return pick(rng, near)


def _mixed(a: Colour, b: Colour) -> Colour:
    red, green, blue = ((x + y) // 2 for x, y in zip(a, b, strict=True))
    return red, green, blue


def _stretched(cells: list[list[Colour]], height: int, width: int) -> Canvas:
    rows = np.array(cells, dtype=np.uint8)
    return cv2.resize(rows, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _flat(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    return np.full((height, width, 3), a, dtype=np.uint8)


def _gradient(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    corners = [[a, a], [b, b]] if rng.random() < 0.5 else [[a, b], [_mixed(a, b), a]]
    return _stretched(corners, height, width)


def _floor(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    canvas = _flat(rng, height, width, a, b)
    canvas[int(height * rng.uniform(0.5, 0.85)) :] = b
    return canvas


def _patches(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    rows, columns = (int(n) for n in rng.integers(3, 9, 2))
    cells = [[jitter(rng, pick(rng, (a, b)), 8) for _ in range(columns)] for _ in range(rows)]
    return _stretched(cells, height, width)


def _stripes(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    canvas = _flat(rng, height, width, a, b)
    step = max(6, round(float(rng.uniform(0.06, 0.16)) * width))
    tone = _shifted(rng, a)
    for left in range(0, width, 2 * step):
        canvas[:, left : left + step] = tone
    return canvas


def _lines(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    canvas = _gradient(rng, height, width, a, b)
    for _ in range(int(rng.integers(6, 22))):
        ends = (rng.random(4) * (width, height, width, height)).astype(int).tolist()
        cv2.line(canvas, (ends[0], ends[1]), (ends[2], ends[3]), _shifted(rng, a), 1, cv2.LINE_AA)
    return canvas


def _specks(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Canvas:
    canvas = _patches(rng, height, width, a, b) if rng.random() < 0.5 else _flat(rng, height, width, a, b)
    reach = 0.035 * min(height, width)
    for _ in range(int(rng.integers(30, 90))):
        x, y, turn, bend = (float(v) for v in rng.random(4) * (width, height, 2 * math.pi, 1.5))
        points = [
            (x + reach * k * math.cos(turn + bend * k), y + reach * k * math.sin(turn + bend * k)) for k in range(3)
        ]
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, _shifted(rng, a), 1, cv2.LINE_AA)
    return canvas


def _shifted(rng: np.random.Generator, colour: Colour) -> Colour:
    """A little darker or lighter."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    return shade(colour, 1.0 + side * float(rng.uniform(0.4, 1.0)) * _SHIFT)


_Ground = Callable[[np.random.Generator, int, int, Colour, Colour], Canvas]
_GROUNDS: tuple[_Ground, ...] = (_flat, _gradient, _floor, _patches, _stripes, _lines, _specks, _specks)
