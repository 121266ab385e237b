"""Precision over recall of each class, on which average precision rests.

Letters: C classes, K detections of a class over all pictures, R = 101 recalls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdino_lightning.evaluation.bootstrap import MOST_DETECTIONS, RECALLS
from gdino_lightning.evaluation.records import NO_TRUTH, Flags, Floats, PictureRecord, match, num_truths


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of one class.

    Attributes:
        precision: (R,) at `RECALLS`, each the highest at this or a greater recall; 0 at recalls never reached.
        num_truths: True boxes of the class.
    """

    precision: npt.NDArray[np.float64]
    num_truths: int

    @property
    def average_precision(self) -> float:
        """COCO's AP at the IoU of the matches; NaN for a class without a true box."""
        return float(self.precision.mean()) if self.num_truths else np.nan

    @property
    def max_recall(self) -> float:
        """The greatest of `RECALLS` that was reached."""
        reached = np.flatnonzero(self.precision)
        return float(RECALLS[reached[-1]]) if reached.size else 0.0


def precision_recall(records: Sequence[PictureRecord], num_classes: int, iou: float = 0.5) -> list[PrecisionRecall]:
    """Draw the curve of each class over all its detections, as COCO does.

    Args:
        records: Pictures with all detections, not only those at a working point; at most the best 100 of a class in a
            picture count, as in COCO.
        num_classes: C.
        iou: Least overlap of a match.

    Returns:
        One curve for each class, in order.
    """
    scores = np.concatenate([np.zeros(0, np.float32), *(record.scores for record in records)])
    labels = np.concatenate([np.zeros(0, np.int64), *(record.labels for record in records)])
    hits = np.concatenate([np.zeros(0, np.bool_), *(match(record, iou) != NO_TRUTH for record in records)])
    counted = np.concatenate([np.zeros(0, np.bool_), *(_counted(record, num_classes) for record in records)])
    truths = num_truths(records, num_classes)
    return [
        PrecisionRecall(_precision(scores[of_class], hits[of_class], num_truth), num_truth)
        for label, num_truth in enumerate(truths.tolist())
        for of_class in [counted & (labels == label)]
    ]


def _counted(record: PictureRecord, num_classes: int) -> Flags:
    """Tell which detections (K,) are among the best of their class in their picture."""
    counted = np.zeros(len(record.labels), np.bool_)
    for label in range(num_classes):
        counted[np.flatnonzero(record.labels == label)[:MOST_DETECTIONS]] = True
    return counted


def _precision(scores: Floats, hits: Flags, num_truth: int) -> npt.NDArray[np.float64]:
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(found / max(num_truth, 1), RECALLS, side="left")
    return np.append(envelope, 0.0)[places]
