"""What pictures hold and what was found in them, as plain arrays: measured, compared and stored away from the model.

Letters: N true boxes and K detections of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gdino_lightning.boxes import pairwise_iou

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NO_TRUTH = -1  # of a detection that matches no true box


@dataclass(frozen=True)
class PictureRecord:
    """Truth and detections of one picture.

    Attributes:
        image_id: Index of the picture in its split.
        truth_boxes: (N, 4) xyxy_px of the stored picture.
        truth_labels: (N,) class indices.
        boxes: (K, 4) xyxy_px, highest score first.
        scores: (K,) in 0..1.
        labels: (K,) class indices.
    """

    image_id: int
    truth_boxes: Floats
    truth_labels: Ints
    boxes: Floats
    scores: Floats
    labels: Ints

    def select(self, keep: Flags | Ints) -> "PictureRecord":
        """Return the record with some of its detections, given as a mask or as indices in order of score."""
        return PictureRecord(
            self.image_id, self.truth_boxes, self.truth_labels, self.boxes[keep], self.scores[keep], self.labels[keep]
        )


def match(record: PictureRecord, iou: float = 0.5) -> Ints:
    """Match detections to true boxes of their class as COCO does: by score, each to the best box that is left.

    Args:
        record: One picture.
        iou: Least overlap of a match.

    Returns:
        (K,) index of each detection's true box, or `NO_TRUTH`.
    """
    overlaps = ious(record.boxes, record.truth_boxes)
    overlaps[record.labels[:, None] != record.truth_labels[None]] = 0
    matched = np.full(len(record.scores), NO_TRUTH, np.int64)
    for index in np.argsort(-record.scores, kind="stable"):
        if overlaps.shape[1] and overlaps[index].max() >= iou:
            matched[index] = overlaps[index].argmax()
            overlaps[:, matched[index]] = 0
    return matched


def ious(boxes: Floats, others: Floats) -> Floats:
    """IoU of each box (K, 4) with each other one (N, 4), both xyxy_px: (K, N)."""
    return pairwise_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()


def num_truths(records: Sequence[PictureRecord], num_classes: int) -> Ints:
    """Count the true boxes of each class, (C,)."""
    labels = np.concatenate([np.zeros(0, np.int64), *(record.truth_labels for record in records)])
    return np.bincount(labels, minlength=num_classes)
