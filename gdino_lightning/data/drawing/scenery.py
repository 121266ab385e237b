"""What is not a head: backgrounds, clutter (some of it round, skin-coloured or a mask), light and noise."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.masks import loose_mask
from gdino_lightning.data.drawing.shapes import (
    Canvas,
    Colour,
    Shape,
    ellipse,
    paint,
    pick_colour,
    placed,
    polygon,
    shade,
    stroke,
)

_WALLS: tuple[Colour, ...] = (
    (214, 224, 230), (232, 222, 204), (190, 206, 190), (226, 204, 204), (168, 182, 200), (206, 196, 222),
    (240, 240, 236), (150, 160, 150), (104, 118, 136), (70, 78, 92), (188, 170, 146), (142, 190, 214),
)  # fmt: skip
_PAINTS: tuple[Colour, ...] = (
    (206, 70, 62), (64, 110, 180), (240, 190, 70), (84, 150, 96), (150, 96, 168), (240, 240, 240),
    (54, 58, 66), (230, 140, 70), (126, 182, 222), (238, 150, 178),
)  # fmt: skip
_SKINLIKE: tuple[Colour, ...] = ((243, 205, 171), (222, 171, 127), (174, 120, 80), (126, 84, 56))
_LEAVES: tuple[Colour, ...] = ((70, 120, 66), (96, 150, 74), (52, 92, 70), (170, 140, 60))


def background(rng: np.random.Generator, width: int, height: int) -> Canvas:
    """Paint a background without objects: flat, gradient, stripes, blobs, wall and floor, or bricks."""
    return _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))](rng, width, height)


def add_clutter(rng: np.random.Generator, canvas: Canvas, count: int) -> None:
    """Paint `count` things that are not heads, each 8-35 % of the canvas' shorter side."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        thing = _CLUTTER[int(rng.integers(len(_CLUTTER)))](rng)
        size = float(rng.uniform(0.08, 0.35)) * min(width, height)
        where = (float(rng.uniform(0, width)), float(rng.uniform(0.15, 1)) * height)
        paint(canvas, thing, size, where)


def lit(rng: np.random.Generator, picture: Canvas) -> Canvas:
    """Put light on a finished picture: brightness, a gradient, a tint, softness, noise. Shape (H, W, 3)."""
    height, width = picture.shape[:2]
    if rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (3, 3), 0).astype(np.uint8, copy=False)
    turn = float(rng.uniform(0, 2 * math.pi))
    slope = float(rng.uniform(0.0, 0.22))
    across = np.linspace(-1, 1, width)[None] * math.cos(turn) + np.linspace(-1, 1, height)[:, None] * math.sin(turn)
    gain = float(rng.uniform(0.78, 1.1)) * (1 + slope * across)
    tint = rng.uniform(0.94, 1.06, 3)
    level = int(rng.integers(0, 5))
    values = np.rint(picture * gain[..., None] * tint).astype(np.int16)
    if level:
        values += rng.integers(-level, level, (height, width, 1), dtype=np.int16, endpoint=True)
    return np.clip(values, 0, 255).astype(np.uint8)


def _flat(rng: np.random.Generator, width: int, height: int) -> Canvas:
    canvas: Canvas = np.full((height, width, 3), pick_colour(rng, _WALLS, 16), dtype=np.uint8)
    return canvas


def _stretch(cells: npt.NDArray[np.uint8], width: int, height: int) -> Canvas:
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _gradient(rng: np.random.Generator, width: int, height: int) -> Canvas:
    a, b = pick_colour(rng, _WALLS, 16), pick_colour(rng, _WALLS, 16)
    return _stretch(np.array([[a, a], [b, b]], dtype=np.uint8), width, height)


def _blobs(rng: np.random.Generator, width: int, height: int) -> Canvas:
    rows, columns = (int(n) for n in rng.integers(3, 8, 2))
    cells = [[pick_colour(rng, _WALLS, 24) for _ in range(columns)] for _ in range(rows)]
    return _stretch(np.array(cells, dtype=np.uint8), width, height)


def _stripes(rng: np.random.Generator, width: int, height: int) -> Canvas:
    canvas = _flat(rng, width, height)
    colour = shade(pick_colour(rng, _WALLS, 16), float(rng.uniform(0.8, 1.1)))
    step = float(rng.uniform(0.06, 0.2)) * width
    lean = float(rng.uniform(-0.5, 0.5)) * height
    for k in range(-4, math.ceil(width / step) + 4, 2):
        x = k * step
        band = polygon([(x, 0), (x + step, 0), (x + step + lean, height), (x + lean, height)])
        paint(canvas, [Shape(band, colour)], 1.0, (0.0, 0.0))
    return canvas


def _room(rng: np.random.Generator, width: int, height: int) -> Canvas:
    canvas = _gradient(rng, width, height)
    level = float(rng.uniform(0.55, 0.85)) * height
    floor = polygon([(0, level), (width, level), (width, height), (0, height)])
    paint(canvas, [Shape(floor, shade(pick_colour(rng, _WALLS, 16), 0.75))], 1.0, (0.0, 0.0))
    return canvas


def _bricks(rng: np.random.Generator, width: int, height: int) -> Canvas:
    wall = pick_colour(rng, ((176, 106, 86), (190, 180, 170), (206, 190, 160), (130, 136, 146)), 12)
    canvas: Canvas = np.full((height, width, 3), shade(wall, 0.8), dtype=np.uint8)
    tall = float(rng.uniform(0.05, 0.09)) * height
    long = tall * 2.4
    for row in range(math.ceil(height / tall)):
        for column in range(-1, math.ceil(width / long)):
            x, y = (column + 0.5 * (row % 2)) * long, row * tall
            brick = polygon([(x, y), (x + long * 0.96, y), (x + long * 0.96, y + tall * 0.9), (x, y + tall * 0.9)])
            tone = shade(wall, float(rng.uniform(0.92, 1.06)))
            paint(canvas, [Shape(brick, tone)], 1.0, (0.0, 0.0))
    return canvas


_BACKGROUNDS: tuple[Callable[[np.random.Generator, int, int], Canvas], ...] = (
    _flat, _gradient, _gradient, _blobs, _blobs, _stripes, _room, _room, _bricks,
)  # fmt: skip


def _ball(rng: np.random.Generator) -> list[Shape]:
    colour = pick_colour(rng, _PAINTS + _SKINLIKE)
    shapes = [Shape(ellipse((0, 0), (0.5, 0.5)), shade(colour, 0.85))]
    shapes += [Shape(ellipse((-0.04, -0.05), (0.44, 0.43)), colour)]
    if rng.random() < 0.4:
        band = np.concatenate((ellipse((0, 0), (0.5, 0.12), 180, 0), ellipse((0, 0.12), (0.49, 0.12), 0, 180)))
        shapes += placed([Shape(band, pick_colour(rng, _PAINTS))], (1, 1), float(rng.uniform(-60, 60)))
    return [*shapes, Shape(ellipse((-0.2, -0.24), (0.08, 0.06)), shade(colour, 1.4))]


def _balloon(rng: np.random.Generator) -> list[Shape]:
    colour = pick_colour(rng, _PAINTS + _SKINLIKE)
    string = stroke(polygon([(0, 0.5), (0.06, 0.9), (-0.04, 1.3), (0.02, 1.7)]), 0.02)
    knot = polygon([(0, 0.47), (0.06, 0.57), (-0.06, 0.57)])
    shapes = [
        Shape(string, (70, 70, 76)),
        Shape(knot, shade(colour, 0.8)),
        Shape(ellipse((0, 0), (0.4, 0.5)), colour),
    ]
    return [*shapes, Shape(ellipse((-0.15, -0.22), (0.06, 0.1)), shade(colour, 1.5))]


def _crate(rng: np.random.Generator) -> list[Shape]:
    colour = pick_colour(rng, (*_PAINTS, *_SKINLIKE, (190, 150, 100)))
    front = polygon([(-0.45, -0.3), (0.45, -0.3), (0.45, 0.5), (-0.45, 0.5)])
    lid = polygon([(-0.45, -0.3), (-0.25, -0.5), (0.62, -0.5), (0.45, -0.3)])
    side = polygon([(0.45, -0.3), (0.62, -0.5), (0.62, 0.3), (0.45, 0.5)])
    tape = polygon([(-0.07, -0.3), (0.07, -0.3), (0.07, 0.5), (-0.07, 0.5)])
    tones = (1.0, 1.2, 0.75, 0.85)
    return [Shape(p, shade(colour, tone)) for p, tone in zip((front, lid, side, tape), tones, strict=True)]


def _tree(rng: np.random.Generator) -> list[Shape]:
    leaf = pick_colour(rng, _LEAVES, 14)
    trunk = polygon([(-0.08, 0.0), (0.08, 0.0), (0.12, 1.3), (-0.12, 1.3)])
    shapes = [Shape(trunk, pick_colour(rng, ((104, 76, 52), (130, 104, 80)), 10))]
    for _ in range(9):
        x, y, r = (float(v) for v in rng.uniform((-0.4, -0.6, 0.2), (0.4, 0.1, 0.34)))
        shapes.append(Shape(ellipse((x, y), (r, r)), shade(leaf, float(rng.uniform(0.85, 1.12)))))
    return shapes


def _lamp(rng: np.random.Generator) -> list[Shape]:
    pole = polygon([(-0.035, 0.0), (0.035, 0.0), (0.05, 2.2), (-0.05, 2.2)])
    light = pick_colour(rng, ((255, 236, 170), (255, 250, 230), (250, 214, 150)), 6)
    globe = [
        Shape(ellipse((0, -0.1), (0.36, 0.36)), shade(light, 0.88)),
        Shape(ellipse((0, -0.1), (0.3, 0.3)), light),
    ]
    return [
        Shape(pole, (60, 62, 70)),
        *globe,
        Shape(polygon([(-0.2, 0.2), (0.2, 0.2), (0.1, 0.34), (-0.1, 0.34)]), (60, 62, 70)),
    ]


def _sign(rng: np.random.Generator) -> list[Shape]:
    colour = pick_colour(rng, _PAINTS)
    corners = int(rng.integers(3, 9))
    plate = [
        (0.5 * math.sin(2 * math.pi * k / corners), -0.5 * math.cos(2 * math.pi * k / corners)) for k in range(corners)
    ]
    pole = polygon([(-0.04, 0.0), (0.04, 0.0), (0.04, 2.0), (-0.04, 2.0)])
    inner = polygon(plate) * 0.84
    bars = [stroke(polygon([(-0.2, y), (0.2, y)]), 0.07) for y in (-0.08, 0.08)]
    ink = (250, 250, 250) if sum(colour) < 480 else (40, 42, 50)
    shapes = [Shape(pole, (120, 124, 130)), Shape(polygon(plate), ink), Shape(inner, colour)]
    return shapes + [Shape(bar, ink) for bar in bars]


def _clock(rng: np.random.Generator) -> list[Shape]:
    rim = pick_colour(rng, _PAINTS + _SKINLIKE)
    shapes = [Shape(ellipse((0, 0), (0.48, 0.48)), rim), Shape(ellipse((0, 0), (0.4, 0.4)), (246, 244, 236))]
    for length, width in ((0.22, 0.05), (0.32, 0.035)):
        turn = float(rng.uniform(0, 2 * math.pi))
        hand = polygon([(0, 0), (length * math.cos(turn), length * math.sin(turn))])
        shapes.append(Shape(stroke(hand, width), (40, 42, 50)))
    return shapes


def _mask(rng: np.random.Generator) -> list[Shape]:
    return placed(loose_mask(rng), (1.0, 1.0), float(rng.uniform(-80, 80)))


_CLUTTER: tuple[Callable[[np.random.Generator], list[Shape]], ...] = (
    _ball, _ball, _balloon, _crate, _tree, _lamp, _sign, _clock, _mask, _mask,
)  # fmt: skip
