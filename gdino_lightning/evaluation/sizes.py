"""How many objects of COCO's three sizes there are, and how many of them are found at the working point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdino_lightning.evaluation.records import NO_TRUTH, Floats, Ints, PictureRecord, match

SIZES = ("small", "medium", "large")
_LIMITS_PX2 = (32**2, 96**2)  # COCO's, on the area of the box in the stored picture


@dataclass(frozen=True)
class SizeCount:
    """The true boxes of one size and class, and how many of them were found."""

    total: int
    found: int

    @property
    def recall(self) -> float:
        """The part that was found; NaN where there is none to find."""
        return self.found / self.total if self.total else np.nan


def count_sizes(records: Sequence[PictureRecord], num_classes: int, iou: float = 0.5) -> list[list[SizeCount]]:
    """Count the true boxes of each class by size.

    Args:
        records: Pictures at the working point.
        num_classes: C.
        iou: Least overlap with a detection of the same class.

    Returns:
        One row for each class, with a count for each of `SIZES`.
    """
    totals = np.zeros((num_classes, len(SIZES)), np.int64)
    found = np.zeros_like(totals)
    for record in records:
        sizes = size_of(record.truth_boxes)
        matched = match(record, iou)
        hits = matched[matched != NO_TRUTH]
        np.add.at(totals, (record.truth_labels, sizes), 1)
        np.add.at(found, (record.truth_labels[hits], sizes[hits]), 1)
    return [
        [SizeCount(*pair) for pair in zip(*rows, strict=True)]
        for rows in zip(totals.tolist(), found.tolist(), strict=True)
    ]


def size_of(boxes: Floats) -> Ints:
    """Return the size of each box, (N, 4) xyxy_px: (N,) index into `SIZES`."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.digitize(areas, _LIMITS_PX2).astype(np.int64)
