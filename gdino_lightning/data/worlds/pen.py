"""What a kind of thing is drawn with: parts, each a filled outline or a pen line, each in a tone.

Parts are made in local units (a thing is about 1 wide and high round the origin, x to the right, y downwards)
and painted in order, later ones over earlier ones. A tone is no colour yet: `BODY` becomes the colour and the
texture that a phrase names, the others follow from that colour, so any kind can be drawn in any colour.
K is the number of points of a part.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gdino_lightning.data.drawing.shapes import Points, ellipse, polygon

# tones are the values of a label map: 0 is nothing, so `HOLE` cuts out of what was painted before
HOLE, BODY, DARK, LIGHT, INK, PALE, COAL, PATTERN, OUTLINE = range(9)
COLOURED = (BODY, DARK, LIGHT)  # tones of the named colour; `INK` contrasts with it, `PALE` and `COAL` hardly change

_Choice = TypeVar("_Choice")
Corners = Points | Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Part:
    """A filled polygon (`width` 0) or a pen line with round ends (`width` in local units)."""

    tone: int
    points: Points
    width: float = 0.0


Sketcher = Callable[[np.random.Generator], list[Part]]


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its word in phrases and how to draw one.

    `patterned`: wide enough for a texture. `mirrored`: its mirror image is the same kind. `covered`: can be told
    when another thing covers a part of it.
    """

    name: str
    sketch: Sketcher
    patterned: bool = True
    mirrored: bool = True
    covered: bool = True


def fill(tone: int, corners: Corners) -> Part:
    """Fill a polygon."""
    return Part(tone, np.asarray(corners, dtype=np.float64))


def line(tone: int, corners: Corners, width: float) -> Part:
    """Draw a line through some points."""
    return Part(tone, np.asarray(corners, dtype=np.float64), width)


def oval(x: float, y: float, across: float, down: float | None = None) -> Points:
    """Ellipse round (x, y) with radii `across` and `down`; a circle without `down`. Shape (K, 2)."""
    return ellipse((x, y), (across, across if down is None else down))


def arc(x: float, y: float, across: float, down: float, start: float, stop: float) -> Points:
    """Part of an ellipse between two angles in degrees: 0 right, 90 down, 270 up. Shape (K, 2)."""
    return ellipse((x, y), (across, down), start, stop)


def box(x1: float, y1: float, x2: float, y2: float) -> Points:
    """Upright rectangle. Shape (4, 2)."""
    return polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def rounded(x1: float, y1: float, x2: float, y2: float, radius: float) -> Points:
    """Upright rectangle with round corners. Shape (K, 2)."""
    centres = ((x2, y2, 0), (x1, y2, 90), (x1, y1, 180), (x2, y1, 270))
    quarters = [
        arc(x + (-radius if x == x2 else radius), y + (-radius if y == y2 else radius), radius, radius, turn, turn + 90)
        for x, y, turn in centres
    ]
    return np.concatenate(quarters)


def spokes(count: int, outer: float, inner: float, first: float = -90.0) -> Points:
    """Corners at `outer` and `inner` radius in turn: a star with `count` points, the first at `first` degrees."""
    turns = [math.radians(first + 180.0 * k / count) for k in range(2 * count)]
    radii = [outer if k % 2 == 0 else inner for k in range(2 * count)]
    return polygon([(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)])


def flipped(points: Points) -> Points:
    """Mirror left and right."""
    return points * (-1.0, 1.0)


def symmetric(right: Sequence[tuple[float, float]]) -> Points:
    """Close the right half of an outline, given from top to bottom, with its mirror image. Shape (2 K, 2)."""
    half = polygon(right)
    return np.concatenate((half, flipped(half)[::-1]))


def vary(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a proportion."""
    return float(rng.uniform(low, high))


def pick(rng: np.random.Generator, choices: Sequence[_Choice]) -> _Choice:
    """Draw one of some choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]
