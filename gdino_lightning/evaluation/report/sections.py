"""What the report says about the pictures of a split: each function makes one section of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.confusion import confusion_matrix
from gdino_lightning.evaluation.curves import precision_recall
from gdino_lightning.evaluation.over_detection import over_detection
from gdino_lightning.evaluation.records import PictureRecord, RecordSet, num_truths
from gdino_lightning.evaluation.reliability import UNDEFINED, Reliability
from gdino_lightning.evaluation.report import plots
from gdino_lightning.evaluation.report.page import Picture, Section, Table
from gdino_lightning.evaluation.sizes import SIZES, count_sizes
from gdino_lightning.evaluation.working_point import Counts, Found, at_working_point, class_counts
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE, Thresholds

NOTHING = "—"  # a cell without a value
_FIXED = ((LITERATURE_SCORE, LITERATURE_NMS), (LITERATURE_SCORE, 0.8))  # .8: a widespread tutorial's NMS


@dataclass(frozen=True)
class Subject:
    """The split that is reported on, as a model saw it.

    Attributes:
        split: `validation` or `test`.
        seen: Its pictures, with all detections.
        calibration: What the working point rests on; None for the thresholds of the literature.
    """

    split: str
    seen: RecordSet
    calibration: Calibration | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.seen.class_names

    @property
    def thresholds(self) -> Thresholds:
        """The working point."""
        return self.calibration.thresholds if self.calibration else Thresholds.fixed(len(self.names))

    @property
    def working_point(self) -> str:
        """The working point in words."""
        if self.calibration:
            return "the thresholds calibrated on validation"
        return f"the fixed thresholds: score {LITERATURE_SCORE}, NMS IoU {LITERATURE_NMS}"

    @cached_property
    def shown(self) -> list[PictureRecord]:
        """The pictures at the working point."""
        return [at_working_point(record, self.thresholds) for record in self.seen.records]

    @cached_property
    def found(self) -> Found:
        """The detections at the working point."""
        return Found.at(self.seen.records, self.thresholds)

    @cached_property
    def counts(self) -> list[Counts]:
        """Detections, hits and true boxes of each class at the working point."""
        return class_counts(self.found, num_truths(self.seen.records, len(self.names)))

    @property
    def together(self) -> Counts:
        """The same of all classes."""
        counts = self.counts
        return Counts(*(sum(getattr(each, name) for each in counts) for name in ("found", "hits", "truths")))

    @cached_property
    def over(self) -> dict[str, float]:
        """Over-detection at the working point."""
        return over_detection(self.seen.records, self.names, self.thresholds)

    @cached_property
    def reliability(self) -> dict[str, Reliability]:
        """Reliability of raw scores and, where there is a temperature, of calibrated ones."""
        raw = {"raw scores": Reliability.of(self.found.scores, self.found.hits)}
        if self.calibration is None:
            return raw
        name = f"calibrated, temperature {self.thresholds.temperature:.2f}"
        return raw | {name: self.found.reliability(self.thresholds)}


def number(value: float, form: str = ".3f") -> str:
    """Return a measure as text; what is not defined (-1, as in COCO, or NaN) is a dash."""
    return NOTHING if value == UNDEFINED or np.isnan(value) else format(value, form)


def precision_recall_section(subject: Subject) -> Section:
    """Precision over recall of each class, and both at the working point."""
    curves = precision_recall(subject.seen.records, len(subject.names))
    rows = [
        (name, str(counts.truths), number(curve.average_precision), *_rates(counts))
        for name, curve, counts in zip(subject.names, curves, subject.counts, strict=True)
    ]
    together = ("all classes", str(subject.together.truths), NOTHING, *_rates(subject.together))
    aps = ", ".join(f"{row[0]} {row[2]}" for row in rows)
    return Section(
        "Precision and recall",
        f"A detection is right if it overlaps an object of its class by IoU .50 or more that no better one has. The "
        f"curve is drawn over all detections; the table's last three columns are at {subject.working_point}.",
        plots=[
            Picture(
                "precision_recall",
                plots.png(plots.precision_recall_plot(curves, subject.names)),
                f"Precision over recall. Average precision at IoU .50: {aps}.",
                "AP at IoU .50 in the legend; the classes with most boxes are named.",
            )
        ],
        tables=[
            Table(
                f"Classes of the {subject.split} split",
                ("class", "boxes", "AP, IoU .50", "precision", "recall", "F1"),
                [*rows, together],
            )
        ],
    )


def confusion_section(subject: Subject) -> Section:
    """What is taken for what."""
    counts = confusion_matrix(subject.shown, len(subject.names))
    wrong = counts[:-1, :-1].sum() - np.trace(counts[:-1, :-1])
    missed, invented = counts[:-1, -1].sum(), counts[-1, :-1].sum()
    return Section(
        "Confusion",
        f"Each object is what its surest detection says, by IoU .50 whatever the class, at {subject.working_point}. "
        "The last column is what was missed, the last row what was found where nothing is, second boxes on one object "
        "included.",
        plots=[
            Picture(
                "confusion",
                plots.png(plots.confusion_plot(counts, subject.names)),
                f"Confusion matrix: of {counts[:-1].sum()} objects {np.trace(counts)} are right, {wrong} taken for "
                f"another class and {missed} missed; {invented} detections are on background.",
            )
        ],
    )


def sizes_section(subject: Subject, scores: Mapping[str, float]) -> Section:
    """Objects by size; `scores` holds `map_small`, `map_medium` and `map_large` where they are known."""
    counts = count_sizes(subject.shown, len(subject.names))
    rows = []
    for place, size in enumerate(SIZES):
        total, found = (sum(getattr(row[place], name) for row in counts) for name in ("total", "found"))
        recall = number(found / total) if total else NOTHING
        rows.append((size, str(total), str(found), recall, number(scores.get(f"map_{size}", np.nan))))
    return Section(
        "Object sizes",
        f"COCO's sizes, by the area of the box in the stored picture. Recall is at {subject.working_point}, AP over "
        "IoU .50 to .95 over all detections.",
        plots=[
            Picture(
                "sizes",
                plots.png(plots.sizes_plot(counts, subject.names)),
                "Recall by size: " + ", ".join(f"{row[0]} {row[3]} of {row[1]} boxes" for row in rows) + ".",
                "Numbers on the bars: true boxes.",
            )
        ],
        tables=[Table(f"Sizes in the {subject.split} split", ("size", "boxes", "found", "recall", "AP"), rows)],
    )


def over_detection_section(subject: Subject, history: Sequence[Picture]) -> Section:
    """Boxes for each object and their faults; `history` is its plot over epochs, where it was logged."""
    columns = {
        "boxes_per_object": "boxes per object",
        "false_positives": "false per picture",
        "duplicates": "duplicates per object",
        "hit_score": "hit score",
        "miss_score": "miss score",
        "empty_false_positives": "false per empty picture",
    }
    kinds = {"all classes": ""} | {name: f"/{name}" for name in subject.names}
    rows = [
        (name, *(number(subject.over[f"over/{measure}{ending}"], ".2f") for measure in columns))
        for name, ending in kinds.items()
    ]
    return Section(
        "Over-detection",
        f"At {subject.working_point}. One box per object is right; mAP hardly sees more. False are the boxes that "
        "match no object, duplicates among them: those on an object that a better detection has. Empty are the "
        "pictures without an object (of the class).",
        plots=history,
        tables=[Table(f"Over-detection in the {subject.split} split", ("class", *columns.values()), rows)],
    )


def calibration_section(subject: Subject) -> Section:
    """Whether scores say how often detections are right, and which thresholds follow from them."""
    errors = "; ".join(f"{name}: {number(curve.ece)}" for name, curve in subject.reliability.items())
    text = f"How often a detection at the working point is right, by its score. Expected calibration error: {errors}."
    if subject.calibration is None:
        text += " The run has no thresholds.json: nothing was calibrated."
    elif few := [each.name for each in subject.calibration.classes if each.source == "pooled"]:
        text += f" Thresholds of all classes pooled serve for {', '.join(few)}: too few validation boxes of their own."
    return Section(
        "Calibration",
        text,
        plots=[
            Picture(
                "calibration",
                plots.png(plots.reliability_plot(subject.reliability)),
                f"Reliability curve. Expected calibration error: {errors}.",
                "On the diagonal a score is the share that is right.",
            )
        ],
        tables=[_thresholds_table(subject.calibration), _worth_table(subject)] if subject.calibration else [],
    )


def _thresholds_table(calibration: Calibration) -> Table:
    rows = [
        (each.name, str(each.num_boxes), f"{each.score:.3f}", f"{each.nms_iou:.2f}", number(each.f1), each.source)
        for each in calibration.classes
    ]
    return Table("Thresholds, chosen on validation", ("class", "boxes", "score", "NMS IoU", "F1", "chosen by"), rows)


def _worth_table(subject: Subject) -> Table:
    """What the calibrated thresholds are worth beside fixed ones, all classes together."""
    num_classes = len(subject.names)
    fixed = {f"score {score}, NMS IoU {iou}": Thresholds.fixed(num_classes, score, iou) for score, iou in _FIXED}
    rows = [("calibrated", *_rates(subject.together))]
    for name, thresholds in fixed.items():
        found = Found.at(subject.seen.records, thresholds)
        rows.append((name, *_rates(Counts(len(found.hits), int(found.hits.sum()), subject.together.truths))))
    return Table(f"On the {subject.split} split", ("thresholds", "precision", "recall", "F1"), rows)


def _rates(counts: Counts) -> tuple[str, str, str]:
    return number(counts.precision), number(counts.recall), number(counts.f1)
