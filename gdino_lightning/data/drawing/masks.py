"""Face masks in the local units of a head, worn or lying about."""

from dataclasses import replace

import numpy as np

from gdino_lightning.data.drawing.shapes import (
    Colour,
    Points,
    Shape,
    distance,
    ellipse,
    pick_colour,
    polygon,
    shade,
    stroke,
)

MASK_COLOURS: tuple[Colour, ...] = (
    (126, 182, 222), (126, 182, 222), (245, 246, 248), (245, 246, 248), (34, 36, 42),
    (238, 150, 178), (120, 190, 150), (72, 104, 176), (232, 206, 96),
)  # fmt: skip
_LEAST_CONTRAST = 95.0  # RGB distance of mask and skin, so that a mask can be seen on every skin
_CHIN = 0.55


def worn_mask(rng: np.random.Generator, skin: Colour, yaw: float, jaw: float, *, below_nose: bool) -> list[Shape]:
    """Draw a mask on a face: over nose and mouth, or over the mouth alone.

    Args:
        rng: where colour, pattern and fit come from.
        skin: colour of the face; the mask's differs clearly.
        yaw: how far the features are moved sideways.
        jaw: width of the jaw relative to the cheeks.
        below_nose: whether the mask stops under the nose.
    """
    colour = pick_colour(rng, MASK_COLOURS)
    while distance(colour, skin) < _LEAST_CONTRAST:
        colour = pick_colour(rng, MASK_COLOURS)
    top = float(rng.uniform(0.205, 0.225) if below_nose else rng.uniform(-0.02, 0.05))
    cheek = float(rng.uniform(0.0, 0.03)) if below_nose else float(rng.uniform(0.05, 0.1))
    outline = _outline(top, top + cheek, yaw, jaw)
    strap = shade(colour, 0.7) if sum(colour) > 300 else shade(colour, 1.2)
    straps = []
    for side in (-1.0, 1.0):
        upper = polygon([(side * 0.33, top + cheek + 0.02), (side * 0.4, 0.0)])
        lower = polygon([(side * 0.27 * jaw, 0.4), (side * 0.4, 0.09)])
        straps += [Shape(stroke(line, 0.028), strap) for line in (upper, lower)]
    cloth = [replace(shape, boxed=True) for shape in _cloth(rng, outline, colour, top, yaw)]
    return [*straps, *cloth]


def loose_mask(rng: np.random.Generator) -> list[Shape]:
    """Draw a mask that nobody wears, with its loops, about the local origin; about 0.8 wide."""
    colour = pick_colour(rng, MASK_COLOURS)
    outline = _outline(0.03, 0.08, 0.0, 0.9)
    loops = [
        Shape(stroke(ellipse((side * 0.34, 0.24), (0.13, 0.14)), 0.025), shade(colour, 0.75)) for side in (-1.0, 1.0)
    ]
    shapes = [*loops, *_cloth(rng, outline, colour, 0.03, 0.0)]
    return [replace(shape, points=shape.points - (0.0, 0.28)) for shape in shapes]


def _outline(top: float, corner: float, yaw: float, jaw: float) -> Points:
    """Corners of the cloth: `top` is the y of its middle, `corner` that of its sides."""
    x, nose, side = yaw * 1.3, 0.1, 0.365
    mid = (corner + _CHIN) / 2
    right = [(nose + x, top + 0.015), (side, corner), (side * (0.9 + 0.06 * jaw), mid - 0.02)]
    right += [(0.27 * jaw, 0.45), (0.12 * jaw + x / 2, _CHIN)]
    left = [(-nose + x, top + 0.015), (-side, corner), (-side * (0.9 + 0.06 * jaw), mid - 0.02)]
    left += [(-0.27 * jaw, 0.45), (-0.12 * jaw + x / 2, _CHIN)]
    return polygon([(x, top), *right, *reversed(left)])


def _cloth(rng: np.random.Generator, outline: Points, colour: Colour, top: float, yaw: float) -> list[Shape]:
    edge = shade(colour, 0.72) if sum(colour) > 200 else shade(colour, 1.3)
    middle = outline.mean(axis=0)
    shapes = [Shape(outline, edge), Shape((outline - middle) * (0.95, 0.93) + middle, colour)]
    kind = float(rng.random())
    if kind < 0.55:
        return [*shapes, *_pleats(edge, top, yaw)]
    if kind < 0.75:
        return [*shapes, *_dots(rng, colour, top, yaw)]
    seam = polygon([(yaw * 1.3, top + 0.04), (yaw * 1.6, (top + _CHIN) / 2), (yaw, _CHIN - 0.03)])
    return [*shapes, Shape(stroke(seam, 0.02), edge)]


def _pleats(edge: Colour, top: float, yaw: float) -> list[Shape]:
    rows = 3 if top < 0.15 else 2
    shapes = []
    for row in range(1, rows + 1):
        y = top + (_CHIN - top) * row / (rows + 1)
        half = 0.25 - 0.12 * (y / _CHIN) ** 2
        line = polygon([(-half + yaw, y - 0.01), (yaw * 1.4, y + 0.015), (half + yaw, y - 0.01)])
        shapes.append(Shape(stroke(line, 0.018), edge))
    return shapes


def _dots(rng: np.random.Generator, colour: Colour, top: float, yaw: float) -> list[Shape]:
    ink = pick_colour(rng, ((250, 250, 250), (200, 50, 60), (40, 60, 130), (250, 210, 90)))
    while distance(ink, colour) < _LEAST_CONTRAST:
        ink = pick_colour(rng, ((250, 250, 250), (200, 50, 60), (40, 60, 130), (250, 210, 90)))
    shapes: list[Shape] = []
    for row, y in enumerate(np.arange(top + 0.11, _CHIN - 0.07, 0.095)):
        half = 0.27 - 0.14 * (float(y) / _CHIN) ** 2
        columns = np.arange(-half + 0.05 * (row % 2), half + 0.01, 0.1)
        shapes += [Shape(ellipse((float(x) + yaw, float(y)), (0.022, 0.022)), ink) for x in columns]
    return shapes
