"""Filled polygons: the only thing the sample dataset is drawn with.

Shapes are made in local units (a head is about 1 high, x to the right, y downwards), then turned, scaled and
moved to pixels, then painted anti-aliased. K is the number of points of a polygon. Coordinates are
continuous: pixel k covers [k, k + 1).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]  # RGB, 0..255
Points = npt.NDArray[np.float64]  # (K, 2), x and y
Canvas = npt.NDArray[np.uint8]  # (H, W, 3), RGB

_FRACTION_BITS = 4  # polygon corners are rounded to 1/16 pixel


@dataclass(frozen=True)
class Shape:
    """A filled polygon; `boxed` says whether it counts for the annotated box of the head it belongs to."""

    points: Points
    colour: Colour
    boxed: bool = False


def polygon(points: Sequence[tuple[float, float]]) -> Points:
    """Make an array of corners. Shape (K, 2)."""
    return np.array(points, dtype=np.float64)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], start: float = 0.0, stop: float = 360.0) -> Points:
    """Sample an ellipse, or the arc of it between two angles in degrees (0 right, 90 down). Shape (K, 2)."""
    count = max(6, round(abs(stop - start) / 12))
    angles = [math.radians(start + (stop - start) * k / count) for k in range(count + 1)]
    return polygon([(centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles])


def stroke(points: Points, width: float) -> Points:
    """Give a line of K points a width: the closed outline of a pen of that width. Shape (2 K, 2)."""
    along = np.gradient(points, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    normal = np.stack((-along[:, 1], along[:, 0]), axis=1) / length[:, None] * (width / 2)
    return np.concatenate((points + normal, (points - normal)[::-1]))


def placed(shapes: Iterable[Shape], scale: tuple[float, float], degrees: float) -> list[Shape]:
    """Scale shapes in x and y, then turn them clockwise around the local origin."""
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return [replace(shape, points=(shape.points * scale) @ matrix) for shape in shapes]


def extent(shapes: Iterable[Shape]) -> tuple[float, float, float, float]:
    """Smallest xyxy rectangle that holds the boxed shapes, in their own units."""
    points = np.concatenate([shape.points for shape in shapes if shape.boxed])
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def paint(canvas: Canvas, shapes: Iterable[Shape], scale: float, origin: tuple[float, float]) -> None:
    """Paint shapes in order: local point p lands on canvas pixel `p * scale + origin`."""
    for shape in shapes:
        pixels = shape.points * scale + origin - 0.5  # OpenCV counts from pixel centres
        corners = np.rint(pixels * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [corners], shape.colour, lineType=cv2.LINE_AA, shift=_FRACTION_BITS)


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor below 1) or lighten (above 1, towards white) a colour."""
    if factor <= 1:
        red, green, blue = (round(value * factor) for value in colour)
    else:
        red, green, blue = (round(255 - (255 - value) * (2 - factor)) for value in colour)
    return red, green, blue


def jitter(rng: np.random.Generator, colour: Colour, amount: int) -> Colour:
    """Move each channel of a colour by at most `amount`."""
    moved = np.array(colour) + rng.integers(-amount, amount, 3, endpoint=True)
    red, green, blue = (int(value) for value in moved.clip(0, 255))
    return red, green, blue


def pick_colour(rng: np.random.Generator, colours: Sequence[Colour], amount: int = 10) -> Colour:
    """Choose one of some colours and jitter it."""
    return jitter(rng, colours[int(rng.integers(len(colours)))], amount)


def distance(a: Colour, b: Colour) -> float:
    """Euclidean distance of two colours in RGB."""
    return math.dist(a, b)
