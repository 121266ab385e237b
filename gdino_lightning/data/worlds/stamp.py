"""One drawn thing, ready to be put into a picture: a small label map of tones and the colours of the tones.

A label map is three times as fine as the picture. So the pixels that belong to a thing are exact, holes are
easy, and averaging gives smooth edges.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.shapes import Canvas
from gdino_lightning.data.worlds.paint import Labels, Palette, palette, put_texture
from gdino_lightning.data.worlds.pen import HOLE, OUTLINE, Kind, Part

FINE = 3  # cells of a label map per pixel

_FRACTION_BITS = 4
_TILT = 12.0  # degrees
_STRETCH = 0.06
_PEN_SHARE = 0.02  # of the longer side: the outline's width
_MARGIN = 6  # cells round the drawing, wider than any outline below 300 px


@dataclass(frozen=True)
class Stamp:
    """Tones of a thing, cropped to whole pixels. `labels` has shape (3 H, 3 W), `colours` (9, 3)."""

    labels: Labels
    colours: Palette

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.labels.shape[0] // FINE, self.labels.shape[1] // FINE

    @property
    def covers(self) -> npt.NDArray[np.bool_]:
        """Cells that belong to the thing. Shape (3 H, 3 W)."""
        covers: npt.NDArray[np.bool_] = self.labels != HOLE
        return covers

    def put(self, canvas: Canvas, left: int, top: int) -> None:
        """Paint the thing into a picture (H, W, 3), its upper left corner at a pixel inside of it."""
        height, width = self.shape
        ground = canvas[top : top + height, left : left + width]
        thing = cv2.resize(np.take(self.colours, self.labels, axis=0), (width, height), interpolation=cv2.INTER_AREA)
        clear = cv2.resize(
            (self.labels == HOLE).view(np.uint8) * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA
        )
        ground[:] = cv2.add(thing, cv2.multiply(ground, cv2.merge((clear, clear, clear)), scale=1 / 255))


def make_stamp(rng: np.random.Generator, kind: Kind, colour: str, texture: str, side: float) -> Stamp:
    """Draw a thing: its proportions, tilt and shade vary.

    Args:
        rng: where all choices come from.
        kind: what to draw.
        colour: one of `paint.COLOURS`.
        texture: one of `paint.TEXTURES`.
        side: length of the longer side in px, about.
    """
    labels = _traced(_posed(rng, kind), side * FINE)
    put_texture(rng, labels, texture, FINE * max(5.0, 0.19 * side) * float(rng.uniform(0.9, 1.1)))
    pen = max(2, round(_PEN_SHARE * side * FINE))
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pen + 1, 2 * pen + 1))
    grown = cv2.dilate((labels != HOLE).view(np.uint8), brush).astype(np.uint8, copy=False)
    labels[(labels == HOLE) & (grown > 0)] = OUTLINE
    return Stamp(_cropped(labels, grown), palette(rng, colour))


def _posed(rng: np.random.Generator, kind: Kind) -> list[Part]:
    """Draw a thing in local units, stretched, tilted and perhaps mirrored."""
    turn = math.radians(float(rng.uniform(-_TILT, _TILT)))
    wide, tall = (float(s) for s in rng.uniform(1 - _STRETCH, 1 + _STRETCH, 2))
    if kind.mirrored and rng.random() < 0.5:
        wide = -wide
    matrix = np.array([[wide * math.cos(turn), wide * math.sin(turn)], [-tall * math.sin(turn), tall * math.cos(turn)]])
    return [Part(part.tone, part.points @ matrix, part.width) for part in kind.sketch(rng)]


def _traced(parts: list[Part], side: float) -> Labels:
    """Paint tones; the longer side of all that is filled or lined is `side` cells. Shape (H, W)."""
    solid = [part for part in parts if part.tone != HOLE]
    low = np.min([part.points.min(axis=0) - part.width / 2 for part in solid], axis=0)
    high = np.max([part.points.max(axis=0) + part.width / 2 for part in solid], axis=0)
    scale = side / float((high - low).max())
    pen = max(2, round(_PEN_SHARE * side))
    margin = _MARGIN + pen
    width, height = (math.ceil(v) + 2 * margin for v in (high - low) * scale)
    labels: Labels = np.zeros((height, width), dtype=np.uint8)
    for part in parts:
        points = ((part.points - low) * scale + margin) * 2**_FRACTION_BITS
        corners = [np.rint(points).astype(np.int32)]
        if part.width:
            thick = max(2, round(part.width * scale))
            cv2.polylines(labels, corners, False, part.tone, thick, cv2.LINE_8, _FRACTION_BITS)
        else:
            cv2.fillPoly(labels, corners, part.tone, cv2.LINE_8, _FRACTION_BITS)
    return labels


def _cropped(labels: Labels, grown: Labels) -> Labels:
    """Cut the empty margin off and round up to whole pixels. Shape (3 H, 3 W)."""
    x, y, width, height = cv2.boundingRect(grown)
    padded = np.zeros((-(-height // FINE) * FINE, -(-width // FINE) * FINE), dtype=np.uint8)
    padded[:height, :width] = labels[y : y + height, x : x + width]
    return padded
