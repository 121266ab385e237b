"""Over-detection at the working point: how many boxes a model draws for each object, and which of them are wrong.

mAP hardly sees it: boxes that come after the last true one in the ranking cost nothing. So it is counted here, where
users look.

Letters: I pictures, C classes.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from gdino_lightning.evaluation.records import Floats, Ints, PictureRecord, num_truths
from gdino_lightning.evaluation.reliability import UNDEFINED
from gdino_lightning.evaluation.working_point import Found
from gdino_lightning.inference.thresholds import Thresholds

_MEASURES = (
    "boxes_per_object",
    "false_positives",
    "duplicates",
    "hit_score",
    "miss_score",
    "empty_false_positives",
    "empty_miss_score",
)


def over_detection_names(class_names: Sequence[str]) -> list[str]:
    """The keys that `over_detection` returns, known before anything is measured."""
    suffixes = ["", *(f"/{name}" for name in class_names)]
    return [f"over/{measure}{suffix}" for suffix in suffixes for measure in _MEASURES]


def over_detection(
    records: Sequence[PictureRecord],
    class_names: Sequence[str],
    thresholds: Thresholds,
    found: Found | None = None,
) -> dict[str, float]:
    """Measure over-detection at the working point, of all classes together and of each.

    A detection is a hit if it is matched to an object at IoU .5 (`match`), else a miss. A miss that overlaps an
    object of its class as much is a duplicate: a better detection has that object.

    Args:
        records: Pictures, with all their detections.
        class_names: The classes, in the order of the labels.
        thresholds: Which detections are shown.
        found: `Found.at` of these, where it is known.

    Returns:
        Measures of all classes by `over/<measure>` and of one class by `over/<measure>/<class>`; never NaN, and
        `UNDEFINED` (-1) where what they are a mean over does not exist:

        - `boxes_per_object`: detections for each object.
        - `false_positives`: misses for each picture, duplicates among them.
        - `duplicates`: duplicates for each object.
        - `hit_score`, `miss_score`: mean score of hits, and of misses.
        - `empty_false_positives`, `empty_miss_score`: misses for each picture without objects and their mean score;
          of a class, over the pictures without objects of that class.
    """
    found = found or Found.at(records, thresholds)
    objects = np.array([num_truths([record], len(class_names)) for record in records]).reshape(-1, len(class_names))
    rows = [_measures(found, objects.sum(axis=1))]
    rows += [_measures(found.select(found.labels == label), of_class) for label, of_class in enumerate(objects.T)]
    return dict(zip(over_detection_names(class_names), chain.from_iterable(rows), strict=True))


def _measures(found: Found, objects: Ints) -> tuple[float, ...]:
    """Return the values of `_MEASURES`; `objects` (I,) says how many each picture has, of the classes of `found`."""
    empty = objects == 0
    on_empty = empty[found.pictures]  # all of them are misses
    return (
        _ratio(len(found.labels), objects.sum()),
        _ratio((~found.hits).sum(), len(objects)),
        _ratio(found.duplicates.sum(), objects.sum()),
        _mean(found.scores[found.hits]),
        _mean(found.scores[~found.hits]),
        _ratio(on_empty.sum(), empty.sum()),
        _mean(found.scores[on_empty]),
    )


def _ratio(total: float, count: int) -> float:
    return float(total / count) if count else UNDEFINED


def _mean(scores: Floats) -> float:
    return float(scores.mean(dtype=np.float64)) if scores.size else UNDEFINED
