"""One drawn head and its body, in local units: the face is 1 high (y from -0.5 to 0.5) and about 0.76 wide.

What tells the classes apart is drawn large, so that it survives a head of 13 pixels: a mask over nose and
mouth covers the lower half of the face, a mask under the nose the lower third, and nose and mouth are dark on
the skin.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gdino_lightning.data.drawing.masks import worn_mask
from gdino_lightning.data.drawing.shapes import (
    Colour,
    Shape,
    distance,
    ellipse,
    extent,
    pick_colour,
    placed,
    polygon,
    shade,
    stroke,
)

CLASSES = ("with_mask", "without_mask", "mask_weared_incorrect")

_SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (243, 205, 171), (234, 190, 150), (222, 171, 127),
    (201, 148, 104), (174, 120, 80), (146, 97, 63), (118, 77, 51),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (28, 24, 26), (62, 42, 30), (96, 62, 38), (140, 92, 50),
    (206, 164, 92), (150, 68, 36), (158, 156, 158), (228, 226, 222),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (52, 84, 140), (176, 60, 58), (66, 128, 96), (235, 235, 228), (48, 50, 58),
    (222, 168, 70), (126, 92, 150), (120, 166, 190), (206, 130, 136), (110, 100, 84),
)  # fmt: skip
_LIPS: Colour = (176, 52, 58)


@dataclass(frozen=True)
class Sketch:
    """A head and body about the local origin; only the head's shapes are `boxed`."""

    label: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class _Person:
    skin: Colour
    hair: Colour
    cloth: Colour
    yaw: float  # how far the features move sideways
    jaw: float  # width of the jaw relative to the cheeks


def sketch_head(rng: np.random.Generator, label: str) -> Sketch:
    """Draw a person of one class: pose, skin, hair, clothes and mask are random.

    Args:
        rng: where all choices come from.
        label: one of `CLASSES`.
    """
    person = _person(rng)
    behind, front = _HAIR_STYLES[_style(rng)](rng, person)
    masked = label != "without_mask"
    head = [*behind, *_face(rng, person), *([] if masked else _beard(rng, person))]
    head += [*_eyes(rng, person), *_nose(person), *_mouth(rng, person)]
    head += front
    if rng.random() < 0.14:
        head += _glasses(rng, person)
    head = [replace(shape, boxed=True) for shape in head]
    if masked:
        head += worn_mask(rng, person.skin, person.yaw, person.jaw, below_nose=label == "mask_weared_incorrect")
    stretch = (float(rng.uniform(0.94, 1.08)), 1.0)
    turned = placed(head, stretch, float(rng.uniform(-15, 15)))
    return Sketch(label, (*_body(rng, person), *turned))


def head_extent(sketch: Sketch) -> tuple[float, float, float, float]:
    """Rectangle round the head (hair and mask included; straps, neck and body not), xyxy in local units."""
    return extent(sketch.shapes)


def _person(rng: np.random.Generator) -> _Person:
    skin = pick_colour(rng, _SKINS, 5)
    hair = pick_colour(rng, _HAIRS, 8)
    while distance(hair, skin) < 70:
        hair = pick_colour(rng, _HAIRS, 8)
    yaw, jaw = float(rng.uniform(-0.06, 0.06)), float(rng.uniform(0.72, 0.98))
    return _Person(skin, hair, pick_colour(rng, _CLOTHES, 20), yaw, jaw)


def _outline(jaw: float, grow: float = 1.0) -> list[tuple[float, float]]:
    """Points of a face: round above, narrowing to a jaw below."""
    upper = ellipse((0, -0.06), (0.38 * grow, 0.44 * grow), 180, 360)
    lower = [(0.375, 0.1), (0.345 * jaw + 0.01, 0.28), (0.24 * jaw, 0.43), (0.1 * jaw, 0.5)]
    right = [(x * grow, y * grow) for x, y in lower]
    return [*((float(x), float(y)) for x, y in upper), *right, *((-x, y) for x, y in reversed(right))]


def _face(rng: np.random.Generator, person: _Person) -> list[Shape]:
    dim = shade(person.skin, 0.86)
    side = 1.0 if rng.random() < 0.5 else -1.0
    outer = polygon([(x, y) for x, y in _outline(person.jaw) if x * side >= 0.0 and y > -0.4])
    order = outer[np.argsort(outer[:, 1], kind="stable")]
    crescent = np.concatenate((order, (order * (0.78, 0.97))[::-1]))
    ears = [Shape(ellipse((x, 0.02), (0.065, 0.1)), dim) for x in (-0.38, 0.38)]
    return [*ears, Shape(polygon(_outline(person.jaw)), person.skin), Shape(crescent, dim)]


def _eyes(rng: np.random.Generator, person: _Person) -> list[Shape]:
    iris = pick_colour(rng, ((60, 40, 28), (40, 70, 110), (54, 84, 56), (30, 26, 26)), 8)
    brow = shade(person.hair, 0.75) if sum(person.hair) < 420 else shade(person.hair, 0.6)
    lift, gaze = float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.02, 0.02))
    shapes = []
    for x in (-0.165 + person.yaw, 0.165 + person.yaw):
        arch = ellipse((x, -0.17 + lift), (0.11, 0.05), 195, 345)
        shapes += [
            Shape(stroke(arch, 0.035), brow),
            Shape(ellipse((x, -0.1), (0.092, 0.06)), shade(person.skin, 0.7)),
            Shape(ellipse((x, -0.1), (0.08, 0.05)), (250, 250, 248)),
            Shape(ellipse((x + gaze, -0.1), (0.047, 0.05)), iris),
            Shape(ellipse((x + gaze, -0.1), (0.024, 0.026)), (12, 10, 12)),
            Shape(ellipse((x + gaze + 0.016, -0.118), (0.012, 0.012)), (255, 255, 255)),
        ]
    return shapes


def _nose(person: _Person) -> list[Shape]:
    x = person.yaw * 1.5
    ridge = [(x - 0.025, -0.06), (x + 0.025, -0.06), (x + 0.085, 0.12), (x + 0.06, 0.165)]
    side = polygon([*ridge, (x - 0.06, 0.165), (x - 0.085, 0.12)])
    nostrils = [Shape(ellipse((x + dx, 0.15), (0.026, 0.018)), shade(person.skin, 0.3)) for dx in (-0.042, 0.042)]
    light = ellipse((x - 0.005, 0.06), (0.02, 0.07))
    return [Shape(side, shade(person.skin, 0.72)), Shape(light, shade(person.skin, 1.25)), *nostrils]


def _mouth(rng: np.random.Generator, person: _Person) -> list[Shape]:
    x, y = person.yaw * 1.2, 0.3
    lip = pick_colour(rng, (_LIPS, shade(_LIPS, 0.8)), 12)
    kind = int(rng.integers(3))
    if kind == 0:  # closed lips
        line = polygon([(x - 0.13, y), (x, y + 0.012), (x + 0.13, y)])
        return [Shape(ellipse((x, y), (0.14, 0.048)), lip), Shape(stroke(line, 0.018), shade(lip, 0.5))]
    if kind == 1:  # a smile with teeth
        smile = ellipse((x, y - 0.05), (0.17, 0.13), 0, 180)
        teeth = ellipse((x, y - 0.035), (0.13, 0.065), 0, 180)
        return [Shape(smile, lip), Shape(teeth, (250, 248, 244))]
    # an open mouth
    hole = ellipse((x, y + 0.005), (0.085, 0.05))
    return [Shape(ellipse((x, y), (0.125, 0.085)), lip), Shape(hole, (74, 18, 24))]


def _beard(rng: np.random.Generator, person: _Person) -> list[Shape]:
    if rng.random() > 0.13:
        return []
    lower = [(x * 1.02, y * 1.03) for x, y in _outline(person.jaw) if y > 0.05]
    inner = [(-0.27, 0.16), (-0.2, 0.2), (0.0, 0.19), (0.2, 0.2), (0.27, 0.16)]
    return [Shape(polygon([*lower, *inner]), shade(person.hair, 0.9))]


def _glasses(rng: np.random.Generator, person: _Person) -> list[Shape]:
    colour = pick_colour(rng, ((24, 24, 28), (120, 40, 40), (90, 70, 40)), 8)
    temples = Shape(stroke(polygon([(-0.38, -0.12), (0.38, -0.12)]), 0.022), colour)
    rims = [ellipse((x + person.yaw, -0.1), (0.125, 0.1)) for x in (-0.165, 0.165)]
    return [temples, *(Shape(stroke(rim, 0.026), colour) for rim in rims)]


def _body(rng: np.random.Generator, person: _Person) -> list[Shape]:
    wide = float(rng.uniform(0.8, 1.05))
    torso = polygon([
        (-0.2, 0.6), (0.2, 0.6), (wide * 0.8, 0.72), (wide, 0.86), (wide * 1.14, 1.6), (wide * 1.2, 9.0),
        (-wide * 1.2, 9.0), (-wide * 1.14, 1.6), (-wide, 0.86), (-wide * 0.8, 0.72),
    ])  # fmt: skip
    neck = polygon([(-0.17, 0.3), (0.17, 0.3), (0.19, 0.62), (0.0, 0.72), (-0.19, 0.62)])
    shapes = [Shape(torso, person.cloth), Shape(neck, shade(person.skin, 0.78))]
    for side in (-1, 1):
        sleeve = polygon([(side * wide * 0.72, 1.15), (side * wide * 0.76, 2.0), (side * wide * 0.78, 9.0)])
        shapes.append(Shape(stroke(sleeve, 0.03), shade(person.cloth, 0.75)))
    if rng.random() < 0.4:  # an open collar, else a plain neckline
        for side in (-1, 1):
            flap = polygon([(side * 0.19, 0.56), (side * 0.02, 0.74), (side * 0.2, 0.84), (side * 0.3, 0.64)])
            shapes.append(Shape(flap, shade(person.cloth, 0.82)))
    return shapes


_Hair = tuple[list[Shape], list[Shape]]  # behind the face, in front of it


def _cap(colour: Colour, hairline: float, top: float = 0.56) -> list[Shape]:
    """Hair over the crown, down to a hairline (y of its middle, negative)."""
    over = ellipse((0, -0.06), (0.415, top - 0.06), 176, 364)
    under = polygon([(0.35, -0.1), (0.3, hairline + 0.06), (0.0, hairline), (-0.3, hairline + 0.06), (-0.35, -0.1)])
    shine = stroke(ellipse((-0.02, -0.08), (0.27, top - 0.17), 215, 270), 0.035)
    return [Shape(np.concatenate((over, under)), colour), Shape(shine, shade(colour, 1.18))]


def _bald(rng: np.random.Generator, person: _Person) -> _Hair:
    shine = stroke(ellipse((-0.02, -0.1), (0.24, 0.32), 215, 265), 0.04)
    return [], [Shape(shine, shade(person.skin, 1.3))]


def _short(rng: np.random.Generator, person: _Person) -> _Hair:
    return [], _cap(person.hair, float(rng.uniform(-0.36, -0.28)), float(rng.uniform(0.54, 0.58)))


def _parted(rng: np.random.Generator, person: _Person) -> _Hair:
    side = 1.0 if rng.random() < 0.5 else -1.0
    over = ellipse((0, -0.06), (0.42, 0.51), 170, 370)
    fringe = polygon([(0.36, -0.05), (0.3, -0.2), (-0.08, -0.42), (-0.2, -0.28), (-0.35, -0.06)])
    shine = stroke(ellipse((0.06, -0.08), (0.27, 0.39), 230, 290), 0.035)
    shapes = [Shape(np.concatenate((over, fringe)), person.hair), Shape(shine, shade(person.hair, 1.18))]
    return [], [replace(shape, points=shape.points * (side, 1.0)) for shape in shapes]


def _curly(rng: np.random.Generator, person: _Person) -> _Hair:
    size = float(rng.uniform(0.1, 0.14))
    rim = ellipse((0, -0.12), (0.36, 0.4), 168, 372)
    curls = [Shape(ellipse((float(x), float(y)), (size, size)), person.hair) for x, y in rim]
    return curls, _cap(person.hair, -0.3, 0.54)


def _long(rng: np.random.Generator, person: _Person) -> _Hair:
    end = float(rng.uniform(0.3, 0.5))
    fall = [(0.47, 0.0), (0.47, end), (0.3, end + 0.03), (-0.3, end + 0.03), (-0.47, end), (-0.47, 0.0)]
    back = np.concatenate((ellipse((0, -0.06), (0.46, 0.53), 180, 360), polygon(fall)))
    return [Shape(back, shade(person.hair, 0.85))], _cap(person.hair, float(rng.uniform(-0.34, -0.27)), 0.58)


def _bun(rng: np.random.Generator, person: _Person) -> _Hair:
    size = float(rng.uniform(0.12, 0.16))
    ball = ellipse((float(rng.uniform(-0.06, 0.06)), -0.62), (size, size * 0.9))
    return [Shape(ball, shade(person.hair, 0.85))], _cap(person.hair, -0.34, 0.56)


def _beanie(rng: np.random.Generator, person: _Person) -> _Hair:
    colour = pick_colour(rng, _CLOTHES, 16)
    over = ellipse((0, -0.16), (0.42, 0.47), 180, 360)
    band = stroke(polygon([(-0.43, -0.22), (0.0, -0.275), (0.43, -0.22)]), 0.12)
    return [], [Shape(over, colour), Shape(band, shade(colour, 0.75))]


def _visor(rng: np.random.Generator, person: _Person) -> _Hair:
    colour = pick_colour(rng, _CLOTHES, 16)
    over = ellipse((0, -0.2), (0.4, 0.38), 180, 360)
    brim = ellipse((0, -0.24), (0.46, 0.07))
    sides = [Shape(ellipse((x, -0.12), (0.045, 0.13)), person.hair) for x in (-0.36, 0.36)]
    return [], [*sides, Shape(over, colour), Shape(brim, shade(colour, 0.7))]


def _scarf(rng: np.random.Generator, person: _Person) -> _Hair:
    colour = pick_colour(rng, _CLOTHES, 16)
    back = polygon(_outline(1.0, 1.17))
    rim = ellipse((0, -0.06), (0.44, 0.53), 180, 360)
    inner = ellipse((0, 0.02), (0.35, 0.4), 360, 180)
    return [Shape(back, shade(colour, 0.85))], [Shape(np.concatenate((rim, inner)), colour)]


_HAIR_STYLES: tuple[Callable[[np.random.Generator, _Person], _Hair], ...] = (
    _short, _parted, _long, _curly, _bald, _bun, _beanie, _visor, _scarf,
)  # fmt: skip
_STYLE_BOUNDS = (0.24, 0.42, 0.6, 0.69, 0.76, 0.83, 0.89, 0.95)  # cumulative shares of all but the last


def _style(rng: np.random.Generator) -> int:
    return int(np.searchsorted(_STYLE_BOUNDS, rng.random(), side="right"))
