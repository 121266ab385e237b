"""From boxes to the mask of what is replaced.

A mask is (H, W) uint8: 255 where a pixel is replaced, 0 where it stays, between the two where both are mixed.
"""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from gdino_lightning.errors import ConfigError

Mask = npt.NDArray[np.uint8]

REPLACED = 255


@dataclass(frozen=True)
class Outline:
    """How a box becomes a region. Lengths are shares of the box's longer side, so they suit objects of all sizes.

    Attributes:
        padding: Added on every side of the box: boxes are tight, and shadows and outlines lie around them.
        feather: Width of the border, inside the region, over which old and new are mixed. Up to `padding` the whole
            box is replaced.
        ellipse: Keep only the ellipse that touches all four sides of the padded box.

    Raises:
        ConfigError: A length is negative or not finite.
    """

    padding: float = 0.15
    feather: float = 0.1
    ellipse: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{field.name} is {value}: it is a share of the box's longer side, 0 or more")


def mask_of(boxes_px: Tensor, width: int, height: int, outline: Outline | None = None) -> Mask:
    """Draw the mask of some boxes.

    Args:
        boxes_px: (N, 4) xyxy_px in the picture; parts outside it are cut off, boxes without an area ignored.
        width: Of the picture in px.
        height: Of the picture in px.
        outline: By default a padded, feathered box.

    Returns:
        (H, W) uint8. It falls towards the edge of a region, but not towards the edge of the picture, where nothing
        is mixed. Where regions overlap the higher value counts.
    """
    outline = outline or Outline()
    mask = np.zeros((height, width), np.uint8)
    for x1, y1, x2, y2 in boxes_px.tolist():
        if x2 > x1 and y2 > y1:
            _add(mask, (x1, y1, x2, y2), outline)
    return mask


def _add(mask: Mask, box_px: tuple[float, float, float, float], outline: Outline) -> None:
    """Raise a mask, in place, to the region of one box."""
    height, width = mask.shape
    x1, y1, x2, y2 = box_px
    longer = max(x2 - x1, y2 - y1)
    padding, feather = round(outline.padding * longer), round(outline.feather * longer)
    left, right = math.floor(x1) - padding, math.ceil(x2) + padding
    top, bottom = math.floor(y1) - padding, math.ceil(y2) + padding
    columns = np.arange(max(left, 0), min(right, width))
    rows = np.arange(max(top, 0), min(bottom, height))[:, None]
    if not (columns.size and rows.size):
        return
    region = np.ones((rows.size, columns.size), np.uint8)
    if outline.ellipse:
        across = (2 * columns + 1 - left - right) / (right - left)  # -1 to 1, at the centre of a pixel
        down = (2 * rows + 1 - top - bottom) / (bottom - top)
        region[across**2 + down**2 > 1] = 0
    # a frame of zeros makes an edge; none where the picture ends
    framed = cv2.copyMakeBorder(
        region, int(top > 0), int(bottom < height), int(left > 0), int(right < width), cv2.BORDER_CONSTANT, value=0
    )
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)  # 1 for the outermost pixels
    depth = depth[int(top > 0) :, int(left > 0) :][: rows.size, : columns.size]
    raised = np.rint(REPLACED * np.minimum(1, depth / (feather + 1))).astype(np.uint8)
    part = mask[rows[0, 0] : rows[-1, 0] + 1, columns[0] : columns[-1] + 1]
    np.maximum(part, raised, out=part)
