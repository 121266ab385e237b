"""A drawn scene: the picture, and what is true of the things in it."""

from dataclasses import dataclass
from typing import Literal, get_args

from gdino_lightning.data.drawing.shapes import Canvas

Split = Literal["train", "seen", "unseen"]
Size = Literal["small", "large"]
SPLITS: tuple[Split, ...] = get_args(Split)

SMALL, LARGE = 0.21, 0.34  # of the picture's shorter side: up to which the longer side is small, from which large


@dataclass(frozen=True)
class Thing:
    """A thing in a scene.

    `box_px` (x1, y1, x2, y2) holds what can be seen of it, outline included; `visible` is the share of it that
    no other thing covers. `size` is None between small and large: no size word is true or false of it.
    """

    kind: str
    colour: str
    texture: str
    size: Size | None
    box_px: tuple[float, float, float, float]
    visible: float

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, px."""
        x1, y1, x2, y2 = self.box_px
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3), RGB, uint8, with all its things, the first painted first."""

    image: Canvas
    objects: tuple[Thing, ...]
    split: Split

    @property
    def shorter(self) -> int:
        """Length of the picture's shorter side, px."""
        height, width, _ = self.image.shape
        return int(min(height, width))


def size_word(share: float) -> Size | None:
    """Size word for a longer side given as a share of the picture's shorter side; None in between."""
    if share <= SMALL:
        return "small"
    return "large" if share >= LARGE else None
