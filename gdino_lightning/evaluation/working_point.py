"""Pictures as they look at a model's working point, and how right it is there.

Letters: C classes, K detections of one picture, M detections of all pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gdino_lightning.evaluation.records import (
    NO_TRUTH,
    Flags,
    Floats,
    Ints,
    PictureRecord,
    ious,
    match,
    num_truths,
)
from gdino_lightning.evaluation.reliability import UNDEFINED, Reliability
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds

MATCH_IOU = 0.5


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
        pictures: (M,) place of the picture among the records.
        scores: (M,) raw.
        labels: (M,) class indices.
        hits: (M,) whether a detection matches a true box of its class, each of them once, by IoU .5.
        duplicates: (M,) whether it overlaps one as much that a better detection has.
    """

    pictures: Ints
    scores: Floats
    labels: Ints
    hits: Flags
    duplicates: Flags

    @classmethod
    def at(cls, records: Sequence[PictureRecord], thresholds: Thresholds) -> "Found":
        """Look at the pictures at a working point."""
        kept = [at_working_point(record, thresholds) for record in records]
        hits = _joined([match(each, MATCH_IOU) != NO_TRUTH for each in kept], np.bool_)
        return cls(
            _joined([np.full(len(each.labels), place) for place, each in enumerate(kept)], np.int64),
            _joined([each.scores for each in kept], np.float32),
            _joined([each.labels for each in kept], np.int64),
            hits,
            _joined([_on_object(each) for each in kept], np.bool_) & ~hits,
        )

    def select(self, keep: Flags) -> "Found":
        """Return some of the detections, given as a mask (M,)."""
        return Found(self.pictures[keep], self.scores[keep], self.labels[keep], self.hits[keep], self.duplicates[keep])

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
    records: Sequence[PictureRecord],
    class_names: Sequence[str],
    thresholds: Thresholds,
    found: Found | None = None,
) -> dict[str, float]:
    """Measure a split at a working point; -1 where a value is undefined, as in COCO.

    Args:
        records: Pictures, with all their detections.
        class_names: The classes, in the order of the labels.
        thresholds: The working point.
        found: `Found.at` of these, where it is known.

    Returns:
        `working/precision`, `working/recall` and `working/f1` over all boxes and, with `/<class>`, of each class;
        `working/f1_mean` over the classes that have boxes; `working/ece` and, before the temperature,
        `working/ece_raw`.
    """
    found = found or Found.at(records, thresholds)
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


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])  # there may be no part


def _on_object(record: PictureRecord) -> Flags:
    """Tell of each detection whether it overlaps a true box of its class."""
    same_class = record.labels[:, None] == record.truth_labels[None]
    on_one: Flags = ((ious(record.boxes, record.truth_boxes) >= MATCH_IOU) & same_class).any(axis=1)
    return on_one


def _rates(counts: Counts, ending: str) -> dict[str, float]:
    return {f"working/{rate}{ending}": getattr(counts, rate) for rate in ("precision", "recall", "f1")}
