"""The plan of a drawn picture (its size, kind, heads and boxes) and the picture itself.

Picture `index` follows from (seed, index) alone, so it does not matter how many pictures are drawn, in which
order or by how many processes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.heads import CLASSES, Sketch, head_extent, sketch_head
from gdino_lightning.data.drawing.scenery import add_clutter, background, lit
from gdino_lightning.data.drawing.shapes import Canvas, paint

CLASS_SHARES = (0.55, 0.30, 0.15)  # of `CLASSES`, per head; 0.79, 0.18, 0.03 in the published set
NEGATIVE_EVERY = 20  # one picture of each run of twenty shows no head
LEAST_SHARE, MOST_SHARE = 0.15, 0.50  # of a box's larger side in the picture's shorter side
LEAST_WIDTH, TRAINING_SIDE = 12.0, 128  # px that a box is wide once the picture's longer side is 128 px

# width, height and share: mostly 301x400 and 400x267, as published
_SIZES = (
    (301, 400, 0.32), (400, 267, 0.24), (400, 225, 0.10), (400, 300, 0.09), (400, 400, 0.06),
    (267, 400, 0.04), (479, 359, 0.03), (400, 278, 0.03), (600, 399, 0.02), (193, 259, 0.02),
    (400, 210, 0.04), (278, 156, 0.01),
)  # fmt: skip
# bits per channel, channels and share
_KINDS = ((8, 4, 0.70), (16, 4, 0.15), (8, 3, 0.10), (16, 3, 0.05))
_HEADS = ((1, 0.28), (2, 0.24), (3, 0.19), (4, 0.13), (5, 0.09), (6, 0.07))  # heads and share
_LARGEST = {1: 0.50, 2: 0.44, 3: 0.37, 4: 0.31, 5: 0.27, 6: 0.25}  # share of the shorter side, by heads
_SIDE_OVERLAP = 0.12  # of the narrower box: neighbours may hide an ear, never a face
_SUPERSAMPLING = 2
_TRIES = 60


@dataclass(frozen=True)
class Head:
    """A person in a picture: where the local origin lands, its scale, and the annotated box."""

    sketch: Sketch
    scale: float  # px per local unit
    origin: tuple[float, float]  # px
    box: tuple[int, int, int, int]  # xyxy_px

    @property
    def label(self) -> str:
        """Class name."""
        return self.sketch.label


@dataclass(frozen=True)
class Plan:
    """All that a picture will be, except its scenery."""

    seed: int
    index: int
    width: int  # px
    height: int  # px
    bits: int  # per channel, 8 or 16
    channels: int  # 3 (RGB) or 4 (RGBA)
    heads: tuple[Head, ...]  # the nearest (lowest) last


def plan_picture(seed: int, index: int) -> Plan:
    """Decide the size, kind and heads of picture `index`; the same at every call."""
    rng = np.random.default_rng([seed, index, 0])
    width, height, _ = _SIZES[_weighted(rng, [share for *_, share in _SIZES])]
    bits, channels, _ = _KINDS[_weighted(rng, [share for *_, share in _KINDS])]
    heads: list[Head] = []
    if not _is_negative(seed, index):
        wanted = _HEADS[_weighted(rng, [share for _, share in _HEADS])][0]
        for _ in range(wanted):
            label = CLASSES[_weighted(rng, CLASS_SHARES)]
            head = _fitted(rng, sketch_head(rng, label), (width, height), wanted, heads)
            if head is not None:
                heads.append(head)
    heads.sort(key=lambda head: head.box[3])
    return Plan(seed, index, width, height, bits, channels, tuple(heads))


def draw_picture(plan: Plan) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Draw a planned picture. Shape (H, W, 3 or 4), RGB or RGBA, uint8 or uint16."""
    rng = np.random.default_rng([plan.seed, plan.index, 1])
    factor = _SUPERSAMPLING
    canvas = background(rng, plan.width * factor, plan.height * factor)
    add_clutter(rng, canvas, int(rng.integers(1, 6) if plan.heads else rng.integers(4, 10)))
    for head in plan.heads:
        x, y = head.origin
        paint(canvas, head.sketch.shapes, head.scale * factor, (x * factor, y * factor))
    picture = cv2.resize(canvas, (plan.width, plan.height), interpolation=cv2.INTER_AREA)
    return _stored(lit(rng, picture.astype(np.uint8, copy=False)), plan)


def _stored(picture: Canvas, plan: Plan) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Give an RGB picture its channels and depth; published alpha is 255 but for a soft edge."""
    if plan.channels == 4:
        alpha = np.full((plan.height, plan.width, 1), 255, dtype=np.uint8)
        alpha[-1:], alpha[:, -1:] = 132, 132
        picture = np.concatenate((picture, alpha), axis=2)
    return picture.astype(np.uint16) * 257 if plan.bits == 16 else picture


def _is_negative(seed: int, index: int) -> bool:
    block, place = divmod(index, NEGATIVE_EVERY)
    return place == int(np.random.default_rng([seed, block, 2]).integers(NEGATIVE_EVERY))


def _weighted(rng: np.random.Generator, shares: tuple[float, ...] | list[float]) -> int:
    """Index drawn with the given shares, which sum to 1."""
    bounds = np.cumsum(shares)[:-1]
    return int(np.searchsorted(bounds, rng.random(), side="right"))


def _fitted(
    rng: np.random.Generator, sketch: Sketch, size: tuple[int, int], wanted: int, others: list[Head]
) -> Head | None:
    """Give a sketch a size and a free place, smaller after each failure; None where there is no room left."""
    x1, y1, x2, y2 = head_extent(sketch)
    wide, tall = x2 - x1, y2 - y1
    shorter, longer = min(size), max(size)
    least_width = (LEAST_WIDTH * longer / TRAINING_SIDE + 1) / wide
    smallest = max((LEAST_SHARE * shorter + 1) / max(wide, tall), least_width)
    largest = max(_LARGEST[wanted] * shorter / max(wide, tall), smallest)
    scale = float(rng.uniform(smallest, largest))
    for _ in range(_TRIES):
        width, height = round(wide * scale), round(tall * scale)
        left, top = _place(rng, size, (width, height))
        box = (left, top, left + width, top + height)
        if all(_apart(box, other.box) for other in others):
            origin = (left + width / 2 - (x1 + x2) / 2 * scale, top + height / 2 - (y1 + y2) / 2 * scale)
            return Head(sketch, scale, origin, box)
        scale = max(smallest, scale * 0.98)
    return None


def _place(rng: np.random.Generator, size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Left and top of a box inside a picture, from 1 as published; one in twelve touches a side."""
    free_x, free_y = size[0] - box[0], size[1] - box[1]
    left = int(rng.integers(1, free_x, endpoint=True))
    top = int(rng.integers(1, free_y, endpoint=True))
    if rng.random() < 1 / 12:
        left = 1 if rng.random() < 0.5 else free_x
    return left, top


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two heads are disjoint, or side by side with no more than an ear in common."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    return down <= 0 or across <= _SIDE_OVERLAP * min(a[2] - a[0], b[2] - b[0])
