"""Where a mask is: its separate places, and the part of the picture around each that a pipeline shall see."""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.editing.masks import Mask

Window = tuple[slice, slice]  # rows and columns of a picture
LEAST_WINDOW = 64  # px: less shows no surroundings


def places(mask: Mask, margin: float) -> Iterator[tuple[Window, npt.NDArray[np.bool_]]]:
    """Yield the separate regions of a mask, from top to bottom.

    Args:
        mask: (H, W) uint8; regions that touch, also at corners, are one.
        margin: Share of a region's longer side that is shown on each side of it.

    Yields:
        A window (h, w) of the picture, a square where the picture is large enough, and which of its pixels belong to
        the region, (h, w) bool.
    """
    height, width = mask.shape
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8), connectivity=8)
    for number in range(1, count):  # 0 is what stays
        left, top, across, down = (int(value) for value in boxes[number, :4])
        side = max(LEAST_WINDOW, round(max(across, down) * (1 + 2 * margin)))
        window = (_span(top, down, side, height), _span(left, across, side, width))
        yield window, numbers[window] == number


def _span(start: int, length: int, side: int, end: int) -> slice:
    """Return `side` px around `start` to `start + length`, moved inside 0 to `end`, or all of it."""
    side = min(side, end)
    first = min(max(0, start + (length - side) // 2), end - side)
    return slice(first, first + side)


def working_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """Scale a window so that its longer side has `resolution` px and both sides are multiples of `multiple`.

    Returns:
        (height, width) in px; each side at least `multiple`.
    """
    scale = resolution / max(height, width) / multiple
    return max(1, round(height * scale)) * multiple, max(1, round(width * scale)) * multiple
