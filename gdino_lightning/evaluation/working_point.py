"""Pictures as they look at a model's working point, and how right it is there.

Letters: C classes, K detections of one picture, M detections of all pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gdino_lightning.evaluation.records import NO_TRUTH, Flags, Floats, Ints, PictureRecord, match, num_truths
from gdino_lightning.evaluation.reliability import UNDEFINED, Reliability
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds


def at_working_point(record: PictureRecord, thresholds: Thresholds) -> PictureRecord:
    """Return the record with the detections that `thresholds` keep; their scores stay raw."""
    found = Detections(*(torch.from_numpy(each) for each in (record.boxes, record.scores, record.labels)))
    kept = thresholds.apply(found)
    return PictureRecord(
        record.image_id,
        record.truth_boxes,
        record.truth_labels,
        kept.boxes.numpy(),
        kept.scores.numpy(),
        kept.labels.numpy(),
    )


@dataclass(frozen=True)
class Found:
    """The detections of all pictures at a working point.

    Attributes:
        scores: (M,) raw.
        labels: (M,) class indices.
        hits: (M,) whether a detection matches a true box of its class, each of them once, by IoU .5.
    """

    scores: Floats
    labels: Ints
    hits: Flags

    @classmethod
    def at(cls, records: Sequence[PictureRecord], thresholds: Thresholds) -> "Found":
        """Look at the pictures at a working point."""
        kept = [at_working_point(record, thresholds) for record in records]
        return cls(
            np.concatenate([np.zeros(0, np.float32), *(each.scores for each in kept)]),
            np.concatenate([np.zeros(0, np.int64), *(each.labels for each in kept)]),
            np.concatenate([np.zeros(0, np.bool_), *(match(each) != NO_TRUTH for each in kept)]),
        )

    def select(self, keep: Flags) -> "Found":
        """Return some of the detections, given as a mask (M,)."""
        return Found(self.scores[keep], self.labels[keep], self.hits[keep])

    def reliability(self, thresholds: Thresholds) -> Reliability:
        """Return the curve of the probabilities that the temperature of `thresholds` makes of the scores."""
        return Reliability.of(thresholds.probabilities(torch.from_numpy(self.scores)).numpy(), self.hits)


@dataclass(frozen=True)
class Counts:
    """How many detections there are, how many of them hit, and how many true boxes there are."""

    found: int
    hits: int
    truths: int

    @property
    def precision(self) -> float:
        """The share of detections that hit; -1 where nothing was found."""
        return self.hits / self.found if self.found else UNDEFINED

    @property
    def recall(self) -> float:
        """The share of true boxes that were hit; -1 where there are none."""
        return self.hits / self.truths if self.truths else UNDEFINED

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where nothing hits, -1 without detections and true boxes."""
        both = self.found + self.truths
        return 2 * self.hits / both if both else UNDEFINED


def class_counts(found: Found, truths: Ints) -> list[Counts]:
    """Count by class; `truths` (C,) are the true boxes of each."""
    num_found = np.bincount(found.labels, minlength=len(truths))
    num_hits = np.bincount(found.labels[found.hits], minlength=len(truths))
    return [Counts(*row) for row in zip(num_found.tolist(), num_hits.tolist(), truths.tolist(), strict=True)]


def working_scores(
    records: Sequence[PictureRecord], class_names: Sequence[str], thresholds: Thresholds
) -> dict[str, float]:
    """Measure a split at a working point; -1 where a value is undefined, as in COCO.

    Returns:
        `working/precision`, `working/recall` and `working/f1` over all boxes and, with `/<class>`, of each class;
        `working/f1_mean` over the classes that have boxes; `working/ece` and, before the temperature,
        `working/ece_raw`.
    """
    found = Found.at(records, thresholds)
    truths = num_truths(records, len(class_names))
    classes = class_counts(found, truths)
    together = Counts(len(found.hits), int(found.hits.sum()), int(truths.sum()))
    with_boxes = [each.f1 for each in classes if each.truths]
    values = _rates(together, "") | {
        "working/f1_mean": sum(with_boxes) / len(with_boxes) if with_boxes else UNDEFINED,
        "working/ece": found.reliability(thresholds).ece,
        "working/ece_raw": Reliability.of(found.scores, found.hits).ece,
    }
    for name, counts in zip(class_names, classes, strict=True):
        values |= _rates(counts, f"/{name}")
    return values


def working_names(class_names: Sequence[str]) -> list[str]:
    """The keys that `working_scores` returns."""
    return list(working_scores([], class_names, Thresholds.fixed(len(class_names))))


def _rates(counts: Counts, ending: str) -> dict[str, float]:
    return {f"working/{rate}{ending}": getattr(counts, rate) for rate in ("precision", "recall", "f1")}
