"""From a validation split to a working point: which thresholds each class gets, and how far its scores can be trusted.

Letters: C classes, M detections of all pictures, P pictures.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.records import Ints, PictureRecord
from gdino_lightning.evaluation.reliability import Bin, Reliability, fit_temperature
from gdino_lightning.evaluation.working_point import Found, class_counts
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE, Thresholds

THRESHOLDS_NAME = "thresholds.json"  # in a run folder
EVIDENCE = 2.5  # standard errors; two arise by chance where the best of some hundred thresholds is compared
# overlaps to choose from, 1 for no suppression; of equally good ones the first: the nearest to what is usual
NMS_IOUS = (LITERATURE_NMS, 0.6, 0.4, 0.7, 0.3, 0.8, 0.9, 1.0)

Source = Literal["class", "pooled", "literature"]


@dataclass(frozen=True)
class ClassCalibration:
    """What calibration found for one class. Rates are those of the validation split at the chosen thresholds.

    Attributes:
        name: The class.
        num_boxes: Its true boxes.
        source: Where its thresholds come from: `class`, its own boxes; `pooled`, those of all classes, as it has too
            few boxes (or no detection that hits); `literature`, the fixed ones, as no class has a detection that hits.
        score: Score threshold.
        nms_iou: Overlap of NMS.
        precision: -1 where nothing is found.
        recall: -1 where there are no boxes.
        f1: 0 where nothing hits; -1 without detections and boxes.
        raw: Reliability of the scores.
        scaled: Reliability of the calibrated probabilities.
    """

    name: str
    num_boxes: int
    source: Source
    score: float
    nms_iou: float
    precision: float
    recall: float
    f1: float
    raw: Reliability
    scaled: Reliability


@dataclass(frozen=True)
class Calibration:
    """The working point of a model and what it was chosen by.

    Attributes:
        thresholds: What to use.
        classes: In the order of the class indices.
        raw: Reliability of the scores of all detections at the working point.
        scaled: Reliability of their calibrated probabilities.
        min_boxes: A class with fewer boxes got the pooled thresholds.
        precision: The precision that was asked for; None: thresholds go by F1.
        evidence: Standard errors by which F1 had to be better than at the usual thresholds.
    """

    thresholds: Thresholds
    classes: tuple[ClassCalibration, ...]
    raw: Reliability
    scaled: Reliability
    min_boxes: int
    precision: float | None
    evidence: float = EVIDENCE

    @property
    def ece_before(self) -> float:
        """Expected calibration error of the scores."""
        return self.raw.ece

    @property
    def ece_after(self) -> float:
        """Expected calibration error of the calibrated probabilities."""
        return self.scaled.ece

    @property
    def pooled(self) -> list[str]:
        """The classes that did not get thresholds of their own."""
        return [each.name for each in self.classes if each.source != "class"]

    def to_plain(self) -> dict[str, Any]:
        """Return plain types: those of `Thresholds.to_plain`, and beside them how they were chosen."""
        evidence = {name: value for name, value in asdict(self).items() if name != "thresholds"}
        return self.thresholds.to_plain() | evidence

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Calibration":
        """Undo `to_plain`."""
        classes = tuple(ClassCalibration(**each | _reliabilities(each)) for each in plain["classes"])
        return cls(
            Thresholds.from_plain(plain),
            classes,
            **_reliabilities(plain),
            min_boxes=plain["min_boxes"],
            precision=plain["precision"],
            evidence=plain.get("evidence", 0.0),  # before it was stored, the best F1 was taken in any case
        )

    def save(self, run: Path) -> None:
        """Write thresholds.json into a run folder."""
        write_atomic(run / THRESHOLDS_NAME, json.dumps(self.to_plain(), indent=2, ensure_ascii=False).encode())

    def table(self) -> str:
        """Return lines that say, class by class, what was chosen and why."""
        rows: list[tuple[str, ...]] = [("class", "boxes", "score", "NMS IoU", "precision", "recall", "F1", "chosen by")]
        for each in self.classes:
            numbers = (each.score, each.nms_iou, each.precision, each.recall, each.f1)
            rows.append((each.name, str(each.num_boxes), *(f"{number:.3f}" for number in numbers), self._why(each)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        error = f"expected calibration error {self.ece_before:.3f}, {self.ece_after:.3f} at temperature"
        return "\n".join([*lines, f"{error} {self.thresholds.temperature:.2f}"])

    def _why(self, row: ClassCalibration) -> str:
        if row.source == "literature":
            return "literature: nothing hits"
        aim = "F1" if self.precision is None else f"precision {self.precision:g}"
        if self.precision is not None and row.precision < self.precision:
            aim += " (not reached)"
        elif self.precision is None and (row.score, row.nms_iou) == _LITERATURE[1:]:
            aim = "usual: no clear gain in F1"
        if row.source == "class":
            return aim
        few = f"fewer than {self.min_boxes} boxes" if row.num_boxes < self.min_boxes else "nothing hits"
        return f"{aim} of all classes pooled: {few}"


def calibrate(
    records: Sequence[PictureRecord],
    class_names: Sequence[str],
    *,
    min_boxes: int = 30,
    precision: float | None = None,
    evidence: float = EVIDENCE,
) -> Calibration:
    """Choose the working point of a model on validation pictures.

    Each class gets the score threshold and the NMS overlap that maximise its F1 (hits by IoU .5), if that F1 is
    clearly better than the one at the usual thresholds; else the usual ones stay, as the best of a few dozen pictures
    is a noisy choice. Or it gets those that find the most boxes at a wanted precision; where that is out of reach, the
    highest precision there is. A class with few boxes gets those of all classes together. The temperature is one for
    all classes, fitted to the detections at that point.

    Args:
        records: Pictures of the validation split, never of the test split.
        class_names: The classes, in the order of their indices.
        min_boxes: True boxes from which a class has thresholds of its own.
        precision: Wanted precision, above 0 and at most 1; None: F1 decides.
        evidence: Standard errors by which the best F1 must beat that of the usual thresholds; 0: the best in any case.

    Raises:
        ConfigError: `min_boxes`, `precision` or `evidence` is out of range.
    """
    check_settings(min_boxes, precision, evidence)
    truths = _truths(records, len(class_names))
    by_nms = {iou: Found.at(records, Thresholds.fixed(len(class_names), 0.0, iou)) for iou in NMS_IOUS}
    pooled = _choose(by_nms, truths.sum(axis=1), precision, evidence)
    points = []
    for label, num_boxes in enumerate(truths.sum(axis=0)):
        own = {iou: found.select(found.labels == label) for iou, found in by_nms.items()}
        chosen = _choose(own, truths[:, label], precision, evidence) if num_boxes >= min_boxes else None
        points.append(_Point("class", *chosen) if chosen else _Point("pooled", *pooled) if pooled else _LITERATURE)
    thresholds = Thresholds(tuple(point.score for point in points), tuple(point.nms_iou for point in points))
    found = Found.at(records, thresholds)
    if len(found.hits) >= min_boxes:  # fewer say too little about probabilities
        thresholds = replace(thresholds, temperature=fit_temperature(found.scores, found.hits))
    classes = []
    for label, (name, counts) in enumerate(zip(class_names, class_counts(found, truths.sum(axis=0)), strict=True)):
        rates = (counts.precision, counts.recall, counts.f1)
        curves = _reliability(found.select(found.labels == label), thresholds)
        classes.append(ClassCalibration(name, counts.truths, *points[label], *rates, *curves))
    return Calibration(thresholds, tuple(classes), *_reliability(found, thresholds), min_boxes, precision, evidence)


def check_settings(min_boxes: int, precision: float | None, evidence: float) -> None:
    """Refuse settings that `calibrate` cannot use.

    Raises:
        ConfigError: `min_boxes`, `precision` or `evidence` is out of range.
    """
    if min_boxes < 1:
        raise ConfigError(f"calibration: min_boxes is {min_boxes}, but thresholds need at least one box (30 is usual)")
    if precision is not None and not 0 < precision <= 1:
        raise ConfigError(f"calibration: precision is {precision}, expected a share above 0 and at most 1, or null")
    if not evidence >= 0:
        raise ConfigError(
            f"calibration: evidence is {evidence} standard errors, expected 0 or more ({EVIDENCE} is usual)"
        )


class _Point(NamedTuple):
    source: Source
    score: float
    nms_iou: float


_LITERATURE = _Point("literature", LITERATURE_SCORE, LITERATURE_NMS)


def _truths(records: Sequence[PictureRecord], num_classes: int) -> Ints:
    """Count the true boxes of each class in each picture, (P, C)."""
    counts = [np.bincount(record.truth_labels, minlength=num_classes) for record in records]
    return np.array(counts, np.int64).reshape(-1, num_classes)  # of no picture, too


def _choose(
    by_nms: Mapping[float, Found], truths: Ints, precision: float | None, evidence: float
) -> tuple[float, float] | None:
    """Return the best score threshold and NMS overlap, or the usual ones; None where nothing hits.

    Args:
        by_nms: All detections after NMS, by its overlap. What NMS keeps above a score does not depend on what lies
            below it, and neither does what matches: so every threshold is a cut through the sorted detections.
        truths: (P,) true boxes of each picture, among which they hit.
        precision: Wanted precision; None: F1 decides.
        evidence: Standard errors by which the best F1 has to be better than the usual thresholds'.
    """
    best, best_value = None, -math.inf
    for iou, found in by_nms.items():
        score, value = _best_cut(found, int(truths.sum()), precision)
        if found.hits.any() and value > best_value:
            best, best_value = (score, iou), value
    if best is None or precision is not None:
        return best
    usual = _LITERATURE[1:]
    (f1, moves), (usual_f1, usual_moves) = (_f1(by_nms[iou], truths, score) for score, iou in (best, usual))
    error = float(np.linalg.norm(moves - usual_moves))
    return best if f1 - usual_f1 > evidence * error or evidence == 0 else usual


def _f1(found: Found, truths: Ints, score: float) -> tuple[float, npt.NDArray[np.float64]]:
    """Return F1 at a score threshold, and how far each picture moves it, (P,).

    What pictures add to F1 = 2 hits / (found + true), to first order, sums to 0. The root of their sum of squares is
    the standard error of F1, and that of the differences is the error of a difference, paired by picture (the
    infinitesimal jackknife).
    """
    kept = found.scores >= np.float32(score)
    hits = np.bincount(found.pictures[kept & found.hits], minlength=len(truths))
    both = np.bincount(found.pictures[kept], minlength=len(truths)) + truths
    f1 = 2 * float(hits.sum()) / float(both.sum())
    return f1, (2 * hits - f1 * both) / float(both.sum())


def _best_cut(found: Found, num_boxes: int, precision: float | None) -> tuple[float, float]:
    """Return the score threshold that is worth most, and its worth, to be compared between NMS overlaps only."""
    order = np.argsort(-found.scores, kind="stable")
    scores = np.append(found.scores[order], np.float32(-1))
    last = np.flatnonzero(scores[:-1] > scores[1:])  # of each run of equal scores, which no threshold parts
    hits, kept = found.hits[order].cumsum()[last], last + 1
    value = 2 * hits / (kept + num_boxes)
    if precision is not None:
        reached = hits / kept >= precision
        value = np.where(reached, hits + value / 2, hits / kept - 1)  # F1 is at most 1: it decides between equal hits
    if not len(value):
        return 0.0, -math.inf
    best = last[value.argmax()]
    return _between(scores[best], scores[best + 1]), float(value.max())


def _between(kept: np.float32, dropped: np.float32) -> float:
    """Return a threshold half way between two scores, or the upper one where there is nothing (below -1) or no half."""
    half = np.float32((float(kept) + float(dropped)) / 2)
    return float(half if dropped >= 0 and half > dropped else kept)


def _reliability(found: Found, thresholds: Thresholds) -> tuple[Reliability, Reliability]:
    return Reliability.of(found.scores, found.hits), found.reliability(thresholds)


def _reliabilities(plain: Mapping[str, Any]) -> dict[str, Reliability]:
    curves = {name: plain[name] for name in ("raw", "scaled")}
    return {name: Reliability(each["ece"], tuple(Bin(**row) for row in each["bins"])) for name, each in curves.items()}
