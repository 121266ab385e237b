"""Colours and textures: their words, and what each tone of a thing becomes in a colour."""

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.shapes import Colour, distance, jitter, shade
from gdino_lightning.data.worlds.pen import BODY, COAL, DARK, HOLE, INK, LIGHT, OUTLINE, PALE, PATTERN

COLOURS: dict[str, Colour] = {
    "red": (216, 36, 40),
    "orange": (248, 136, 20),
    "yellow": (252, 220, 46),
    "green": (44, 160, 66),
    "blue": (36, 92, 216),
    "purple": (134, 56, 178),
    "pink": (252, 150, 192),
    "brown": (124, 76, 38),
    "black": (26, 26, 30),
    "white": (248, 248, 246),
    "grey": (142, 144, 148),
}
TEXTURES = ("plain", "striped", "dotted", "checked")

_JITTER, _TINT = 9, 3  # per channel, of colours and of greys: far less than the distance of two named colours
_GREYS = ("black", "white", "grey")
_DIM, _BRIGHT = 105.0, 135.0  # luma from which ink, and from which a pattern, is dark instead of white
_TONES = 9

Palette = npt.NDArray[np.uint8]  # (9, 3), RGB of each tone
Labels = npt.NDArray[np.uint8]  # (H, W), tones


def palette(rng: np.random.Generator, colour: str) -> Palette:
    """Mix the tones of a thing in a named colour: never twice quite the same. Shape (9, 3), RGB."""
    body = jitter(rng, COLOURS[colour], _TINT if colour in _GREYS else _JITTER)
    black, white = colour == "black", colour == "white"
    tones: dict[int, Colour] = {
        HOLE: (0, 0, 0),
        BODY: body,
        DARK: shade(body, 1.22 if black else 0.82),
        LIGHT: shade(body, {"black": 1.18, "white": 0.86}.get(colour, 1.4)),
        INK: (30, 28, 34) if luma(body) > _DIM else (246, 244, 240),
        PALE: (170, 192, 212) if white else (246, 243, 234),
        COAL: (126, 124, 130) if black else (56, 52, 58),
        PATTERN: (36, 32, 40) if luma(body) > _BRIGHT else (248, 246, 242),
        OUTLINE: shade(body, 1.38) if black else shade(body, 0.58),
    }
    return np.array([tones[tone] for tone in range(_TONES)], dtype=np.uint8)


def luma(colour: Colour) -> float:
    """Brightness of a colour, 0..255 (Rec. 601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def contrast(name: str, others: tuple[Colour, ...]) -> float:
    """Smallest RGB distance of a named colour to some colours."""
    return min(distance(COLOURS[name], other) for other in others)


def put_texture(rng: np.random.Generator, labels: Labels, texture: str, period: float) -> None:
    """Turn a part of the body tone, less than half, into the pattern tone, in place.

    Args:
        rng: where the direction and the phase come from.
        labels: tones. Shape (H, W).
        texture: one of `TEXTURES`.
        period: of the pattern, in cells of `labels`.
    """
    if texture == "plain":
        return
    phase = rng.random(2) + 64.0  # keeps positions positive, so that modulo is a plain fraction
    across = (np.arange(labels.shape[1], dtype=np.float32) / np.float32(period) + np.float32(phase[0]))[None]
    down = (np.arange(labels.shape[0], dtype=np.float32) / np.float32(period) + np.float32(phase[1]))[:, None]
    if texture == "striped":
        lean = int(rng.integers(4))  # upright, falling, level or rising stripes
        position = (across, (across + down) * np.float32(0.75), down, (across - down + 99) * np.float32(0.75))[lean]
        inked = position % 1 < 0.37
    elif texture == "dotted":
        row = np.floor(down * np.float32(1.2))
        x, y = (across + row * np.float32(0.5)) % 1 - 0.5, (down * np.float32(1.2)) % 1 - 0.5
        inked = x * x + y * y < 0.085
    else:
        x, y = (across % 1 * 2) % 2, (down % 1 * 2) % 2
        inked = (_within(x, 0) & _within(y, 0)) | (_within(x, 1) & _within(y, 1))
    details = ((labels != BODY) & (labels != HOLE)).view(np.uint8)
    near = cv2.dilate(details, np.ones((5, 5), dtype=np.uint8))  # eyes and doors keep a rim of the colour
    labels[inked & (labels == BODY) & (near == 0)] = PATTERN


def _within(position: npt.NDArray[np.float32], cell: int) -> npt.NDArray[np.bool_]:
    """Whether a position lies in a cell's square, which leaves a thin gap to the next."""
    return (position > cell + 0.08) & (position < cell + 0.94)
