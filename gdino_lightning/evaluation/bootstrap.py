"""How sure a mean average precision is: pictures drawn anew, with replacement, and scored again (Efron 1979).

Detections are matched once. A resample only says how often each picture counts, so it costs some cumulative sums.

Letters: P pictures, C classes, K detections of a class in all pictures, I IoU thresholds, R resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.records import NO_TRUTH, Ints, PictureRecord, match_at

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST_DETECTIONS = 100  # of a class in a picture, as in COCO
NO_BOX = -1.0  # COCO's value where there is nothing to find
INTERVAL = (2.5, 97.5)  # percentiles

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number and how far it could be off if other pictures had been drawn.

    Attributes:
        value: On the pictures as they are.
        error: Standard error: the standard deviation over resamples.
        low: 2.5th percentile of the resamples.
        high: 97.5th percentile.
    """

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class MapEstimate:
    """COCO's mAP at IoU .50:.95 and at .50, or differences of these."""

    map: Estimate
    map_50: Estimate


@dataclass(frozen=True)
class _ClassTable:
    """The detections of one class by falling score, and which of them are right.

    Attributes:
        pictures: (K,) place of each detection's picture.
        hits: For each of the I thresholds, the places in `pictures` of the detections that match a true box.
        truths: (P,) true boxes of each picture.
    """

    pictures: Ints
    hits: tuple[Ints, ...]
    truths: Ints

    def average_precisions(self, weights: Ints) -> Numbers:
        """COCO's AP at each threshold, (I,); pictures count as often as `weights` (P,) say, one box at least."""
        found = np.cumsum(weights[self.pictures])
        total = int(weights @ self.truths)
        return np.array([self._average_precision(hits, weights, found, total) for hits in self.hits])

    def _average_precision(self, hits: Ints, weights: Ints, found: Ints, total: int) -> float:
        """101-point interpolation; precision only needs looking at where a true box is found: it falls in between."""
        right = np.cumsum(weights[self.pictures[hits]])
        precision = right / np.maximum(found[hits], 1)
        highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)  # at this recall or more; 0 beyond
        return float(highest[np.searchsorted(right / total, RECALLS)].mean())


class MatchTables:
    """The detections of all pictures, matched once, to be scored under any weights of the pictures.

    Args:
        records: P pictures; of equal scores that of the earlier picture ranks first.
        num_classes: Classes.
    """

    def __init__(self, records: Sequence[PictureRecord], num_classes: int) -> None:
        self.num_pictures = len(records)
        matched = [match_at(record, IOUS.tolist()) != NO_TRUTH for record in records]
        self._classes = [_class_table(records, matched, label) for label in range(num_classes)]

    def mean_ap(self, weights: Ints) -> tuple[float, float]:
        """COCO's mAP at .50:.95 and at .50, each the mean over classes that have a true box.

        Args:
            weights: (P,) how often each picture counts.

        Returns:
            Both values; `NO_BOX` where no class has a true box.
        """
        known = [each.average_precisions(weights) for each in self._classes if weights @ each.truths]
        if not known:
            return NO_BOX, NO_BOX
        by_iou = np.mean(known, axis=0)
        return float(by_iou.mean()), float(by_iou[0])


def bootstrap_map(
    records: Sequence[PictureRecord], num_classes: int, num_resamples: int = 200, seed: int = 0
) -> MapEstimate:
    """Estimate mAP with its standard error; resamples without a true box are left out.

    A class that a resample has no box of is left out of its mean, as COCO does.

    Args:
        records: The pictures of a split.
        num_classes: Classes.
        num_resamples: How often the pictures are drawn anew.
        seed: What the draws follow from, together with the number of pictures.
    """
    tables = MatchTables(records, num_classes)
    every = np.ones(tables.num_pictures, np.int64)
    drawn = [tables.mean_ap(weights) for weights in _resamples(tables.num_pictures, num_resamples, seed)]
    return _estimates(tables.mean_ap(every), [each for each in drawn if each[0] != NO_BOX])


def bootstrap_difference(
    first: Sequence[PictureRecord],
    second: Sequence[PictureRecord],
    num_classes: int,
    num_resamples: int = 200,
    seed: int = 0,
) -> MapEstimate:
    """Estimate how much higher the mAP of `second` is; both are scored on the same resamples (paired).

    What is hard for both cancels out, so the interval is narrower than that of two separate estimates.

    Args:
        first: Pictures with the detections of one model.
        second: The same pictures in the same order, with those of another.
        num_classes: Classes.
        num_resamples: How often the pictures are drawn anew.
        seed: What the draws follow from, together with the number of pictures.

    Raises:
        ConfigError: The pictures or their true boxes differ.
    """
    _check_same_truth(first, second)
    tables = [MatchTables(records, num_classes) for records in (first, second)]
    every = np.ones(len(first), np.int64)
    pairs = [[each.mean_ap(w) for each in tables] for w in (every, *_resamples(len(first), num_resamples, seed))]
    value, *drawn = [(b[0] - a[0], b[1] - a[1]) for a, b in pairs]
    known = [difference for difference, (a, _) in zip(drawn, pairs[1:], strict=True) if a[0] != NO_BOX]
    return _estimates(value, known)


def _class_table(records: Sequence[PictureRecord], matched: Sequence[npt.NDArray[np.bool_]], label: int) -> _ClassTable:
    chosen = [np.flatnonzero(record.labels == label)[:MOST_DETECTIONS] for record in records]
    scores = np.concatenate([record.scores[rows] for record, rows in zip(records, chosen, strict=True)])
    right = np.concatenate([each[:, rows] for each, rows in zip(matched, chosen, strict=True)], axis=1)
    order = np.argsort(-scores, kind="stable")
    return _ClassTable(
        pictures=np.repeat(np.arange(len(records)), [len(rows) for rows in chosen])[order],
        hits=tuple(np.flatnonzero(row) for row in right[:, order]),
        truths=np.array([np.count_nonzero(record.truth_labels == label) for record in records]),
    )


def _resamples(num_pictures: int, num_resamples: int, seed: int) -> Iterator[Ints]:
    """How often each of P pictures is drawn, (P,), R times."""
    rng = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield np.bincount(rng.integers(num_pictures, size=num_pictures), minlength=num_pictures)


def _estimates(value: tuple[float, float], drawn: Sequence[tuple[float, float]]) -> MapEstimate:
    return MapEstimate(*(_estimate(value[place], [each[place] for each in drawn]) for place in (0, 1)))


def _estimate(value: float, drawn: Sequence[float]) -> Estimate:
    if len(drawn) < 2:
        return Estimate(value, 0.0, value, value)
    low, high = np.percentile(drawn, INTERVAL).tolist()
    return Estimate(value, float(np.std(drawn, ddof=1)), low, high)


def _check_same_truth(first: Sequence[PictureRecord], second: Sequence[PictureRecord]) -> None:
    if len(first) != len(second):
        raise ConfigError(f"one run has {len(first):,} pictures, the other {len(second):,}: score both on one split")
    for a, b in zip(first, second, strict=True):
        same = np.array_equal(a.truth_boxes, b.truth_boxes) and np.array_equal(a.truth_labels, b.truth_labels)
        if a.image_id != b.image_id or not same:
            raise ConfigError(f"picture {a.image_id}: its true boxes differ in the two runs: score both on one split")
