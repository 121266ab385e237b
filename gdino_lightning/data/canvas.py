"""Sizes and canvases: how large a picture becomes and which padded rectangle (canvas) it lies on.

A picture's canvas follows from its own size alone: resized with its aspect ratio kept, then rounded up to a
multiple and padded with zeros at the right and bottom. So a picture gives the same numbers alone and with any
neighbours. Training, evaluation and inference all use these functions. Sizes are (width, height) px.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gdino_lightning.errors import ConfigError

IMAGENET_MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB, of pixel values from 0 to 1
IMAGENET_STD: tuple[float, float, float] = (0.229, 0.224, 0.225)

_SCALE = np.array([1 / (255 * std) for std in IMAGENET_STD], np.float32)
_SHIFT = np.array([-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)], np.float32)


def resized_size(width: int, height: int, short_side: int, long_side_max: int) -> tuple[int, int]:
    """Size of a picture after the resize of DETR (Carion et al. 2020), aspect ratio kept.

    The short side becomes `short_side`, larger or smaller, unless the long side would exceed `long_side_max`;
    then the long side becomes that. Each side is rounded to the nearest px and is at least 1 px.
    """
    scale = min(short_side / min(width, height), long_side_max / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def canvas_of(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Round a size up to the next multiple of `multiple` px on each side."""
    return -(-width // multiple) * multiple, -(-height // multiple) * multiple


@dataclass(frozen=True)
class Sizing:
    """The resize and canvas settings of one scale.

    Attributes:
        short_side: px that the short side of a picture becomes.
        long_side_max: px that the long side does not exceed.
        multiple: px; both canvas sides are multiples of it.

    Raises:
        ConfigError: a setting is below 1, or `long_side_max` is below `short_side`.
    """

    short_side: int = 800
    long_side_max: int = 1333
    multiple: int = 64

    def __post_init__(self) -> None:
        if min(self.short_side, self.multiple) < 1 or self.long_side_max < self.short_side:
            raise ConfigError(
                f"short_side {self.short_side}, long_side_max {self.long_side_max}, "
                f"canvas_multiple {self.multiple}: all must be at least 1, "
                "and long_side_max at least short_side"
            )

    def at(self, short_side: int) -> "Sizing":
        """The same rule at another short side; the longest long side keeps its ratio to it."""
        long_side_max = round(self.long_side_max * short_side / self.short_side)
        return replace(self, short_side=short_side, long_side_max=long_side_max)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Size of a picture after `resized_size`."""
        return resized_size(width, height, self.short_side, self.long_side_max)

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """Canvas of a picture of this stored size."""
        return canvas_of(*self.resized(width, height), self.multiple)

    def resized_into(self, width: int, height: int, canvas: tuple[int, int]) -> tuple[int, int]:
        """Size of a picture after `resized_size`, made smaller where it would leave `canvas`."""
        w, h = self.resized(width, height)
        scale = min(1.0, canvas[0] / w, canvas[1] / h)
        return max(1, round(w * scale)), max(1, round(h * scale))


def resize(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize a picture. Shapes: (H, W, 3) -> (size[1], size[0], 3).

    Shrinking averages over areas, because bilinear samples would skip over small faces; enlarging is
    bilinear.
    """
    height, width = rgb.shape[:2]
    if size == (width, height):
        return rgb
    shrinks = size[0] * size[1] < width * height
    resized = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def normalise_on_canvas(rgb: npt.NDArray[np.uint8], canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Normalise a resized picture and lay it on the top left of its canvas.

    Args:
        rgb: (h, w, 3) uint8 RGB, no larger than the canvas.
        canvas: (W, H) px.

    Returns:
        (3, H, W) float32 pixels, normalised with the ImageNet mean and std and exactly 0 where padded, and
        the (H, W) bool mask, True on the picture.

    Raises:
        ValueError: the picture is larger than the canvas.
    """
    height, width = rgb.shape[:2]
    if width > canvas[0] or height > canvas[1]:
        raise ValueError(f"a picture of {width}x{height} px does not fit on a canvas of {canvas[0]}x{canvas[1]} px")
    pixels = torch.zeros(3, canvas[1], canvas[0])
    mask = torch.zeros(canvas[1], canvas[0], dtype=torch.bool)
    target = pixels.numpy()[:, :height, :width]
    np.multiply(rgb.transpose(2, 0, 1), _SCALE[:, None, None], out=target)
    target += _SHIFT[:, None, None]
    mask[:height, :width] = True
    return pixels, mask
