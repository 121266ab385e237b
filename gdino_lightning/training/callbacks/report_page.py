"""The page that tells of a run: its history from metrics.csv, the split it was scored on, its settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gdino_lightning.evaluation.bootstrap import bootstrap_map
from gdino_lightning.evaluation.reliability import UNDEFINED
from gdino_lightning.evaluation.report import plots
from gdino_lightning.evaluation.report.page import Page, Picture, Section, Table
from gdino_lightning.evaluation.report.plots import Line, Panel
from gdino_lightning.evaluation.report.sections import (
    NOTHING,
    Subject,
    calibration_section,
    confusion_section,
    number,
    over_detection_section,
    precision_recall_section,
    sizes_section,
)
from gdino_lightning.training.callbacks.results import Curves

_AP_NAMES = {
    "map": "mAP, IoU .50:.95",
    "map_50": "mAP, IoU .50",
    "map_75": "mAP, IoU .75",
    "map_small": "mAP, small",
    "map_medium": "mAP, medium",
    "map_large": "mAP, large",
}
_REFERENCE_NAMES = {f"reference/{key}": _AP_NAMES[key] for key in ("map", "map_50")}
_POINT_NAMES = {
    "working/f1": "F1",
    "working/ece": "calibration error",
    "over/boxes_per_object": "boxes per object",
    "over/false_positives": "false positives per picture",
    "over/duplicates": "duplicates per object",
    "over/hit_score": "mean score of hits",
    "over/miss_score": "mean score of misses",
}


@dataclass(frozen=True)
class RunHistory:
    """What metrics.csv says of a run.

    Attributes:
        curves: All of it.
        epoch: The epoch that is reported on, from 0 as in metrics.csv.
        before: Scores on validation before the first step, by key without `val/`; empty where it was not scored. Here
            and below what cannot be measured is left out.
        after: Scores on validation after that epoch.
        test: Newest scores on the test split, of that epoch.
    """

    curves: Curves
    epoch: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    test: Mapping[str, float]

    @classmethod
    def read(cls, table: Path, epoch: int) -> "RunHistory":
        """Read a metrics.csv, which need not exist; of rows of one epoch the last one counts."""
        curves = Curves.read(table)
        after: dict[str, float] = {}
        test: dict[str, float] = {}
        for row in curves.rows:
            if row is not curves.zero_shot and _epoch(row) == epoch:
                after |= _scores(row, "val/")
                test |= _scores(row, "test/")
        return cls(curves, epoch, _scores(curves.zero_shot, "val/"), after, test)

    def lines(self, names: Mapping[str, str], *, coloured: bool = True) -> list[Line]:
        """Return the curves over epochs of those columns that were logged.

        Args:
            names: Name in the legend by column; for columns of the classes in the order of the classes.
            coloured: In the colours of the classes, else black.
        """
        return [
            Line(name, self._by_epoch(key), self._start(key), place if coloured else None)
            for place, (key, name) in enumerate(names.items())
            if key in self.curves.names
        ]

    @property
    def trained(self) -> float:
        """Epochs of training up to the end of the epoch that is reported on."""
        return self.epoch + 1.0

    def classes(self) -> list[str]:
        """The names of the classes whose AP was logged."""
        return [name.removeprefix("val/map/") for name in self.curves.names if name.startswith("val/map/")]

    def _by_epoch(self, key: str) -> dict[float, float]:
        steps = self._steps_per_epoch()
        return {(step + 1) / steps: value for step, value in self.curves.of(key).items()}

    def _start(self, key: str) -> float | None:
        return self.before.get(key.removeprefix("val/")) if key.startswith("val/") else None

    def _steps_per_epoch(self) -> float:
        """Optimizer steps of an epoch, from the last row of a finished one; a row's step is the last one taken."""
        ends = [row for row in self.curves.rows if row is not self.curves.zero_shot and "val/map" in row]
        known = [(int(row["step"]) + 1) / (_epoch(row) + 1) for row in ends if {"step", "epoch"} <= set(row)]
        return known[-1] if known else 1.0


def report_page(
    run: Path, history: RunHistory, subject: Subject, galleries: Sequence[Section], environment: Mapping[str, str]
) -> Page:
    """Make the page of a run.

    Args:
        run: The folder of the run.
        history: Its metrics.
        subject: The split that is reported on.
        galleries: Sections of drawn pictures.
        environment: Names and values that say on what it ran.
    """
    scores = history.test if subject.split == "test" else history.after
    return Page(
        title=run.resolve().name,
        subtitle=f"epoch-{history.epoch:02d}.ckpt on the {subject.split} split: {len(subject.seen.records)} pictures, "
        f"{subject.together.truths} boxes, {len(subject.names)} classes",
        headlines=_headlines(history, subject),
        sections=[
            _change_section(history, subject),
            _curves_section(history),
            *_forgetting_section(history),
            precision_recall_section(subject),
            confusion_section(subject),
            sizes_section(subject, scores),
            over_detection_section(subject, _over_history(history)),
            calibration_section(subject),
            *galleries,
            _settings_section(run, environment),
        ],
    )


def _headlines(history: RunHistory, subject: Subject) -> list[tuple[str, str, str]]:
    estimate = bootstrap_map(subject.seen.records, len(subject.names)).map
    rates, over = subject.together, subject.over
    eces = [number(curve.ece) for curve in subject.reliability.values()]
    return [
        (
            "mAP",
            number(estimate.value),
            f"IoU .50:.95; 95 % interval {number(estimate.low)} to {number(estimate.high)}",
        ),
        ("mAP before training", number(history.before.get("map", math.nan)), "zero-shot, on validation"),
        ("F1", number(rates.f1), f"precision {number(rates.precision)}, recall {number(rates.recall)}"),
        (
            "Boxes per object",
            number(over["over/boxes_per_object"], ".2f"),
            f"{number(over['over/duplicates'], '.2f')} duplicates; one box is right",
        ),
        ("Calibration error", eces[-1], f"raw scores {eces[0]}" if len(eces) > 1 else "raw scores; not calibrated"),
    ]


def _change_section(history: RunHistory, subject: Subject) -> Section:
    names = _AP_NAMES | {f"map/{name}": f"AP, {name}" for name in subject.names}
    before, after = history.before, history.after
    rows = [
        (
            name,
            number(before.get(key, math.nan)),
            number(after.get(key, math.nan)),
            f"{after[key] - before[key]:+.3f}" if key in before and key in after else NOTHING,
            number(history.test.get(key, math.nan)),
        )
        for key, name in (names | _POINT_NAMES).items()
    ]
    moved = {key: name for key, name in names.items() if key in before and key in after}
    text = "The same validation pictures before the first step (zero-shot) and with the chosen weights."
    pictures = []
    if moved:
        moves = [{name: scores[key] for key, name in moved.items()} for scores in (before, after)]
        alt = "; ".join(f"{name} from {number(before[key])} to {number(after[key])}" for key, name in moved.items())
        pictures = [Picture("change", plots.png(plots.change_plot(*moves)), f"Average precision: {alt}.")]
    else:
        text += " The model before training was not scored on all of validation, so there is nothing to compare."
    header = ("measure", "zero-shot", "fine-tuned", "change", "on test")
    tables = [Table("Scores on validation before and after, and on test", header, rows)]
    return Section("Zero-shot against fine-tuned", text, pictures, tables)


def _curves_section(history: RunHistory) -> Section:
    aps = {f"val/{key}": name for key, name in _AP_NAMES.items()}
    classes = {f"val/map/{name}": name for name in history.classes()}
    panels = {
        "loss": Panel("loss", history.lines({"train/loss": "training", "val/loss": "validation"})),
        "map": Panel("mAP", history.lines({key: aps[key] for key in list(aps)[:3]}), (0, 1)),
        "map_classes": Panel("AP by class, IoU .50:.95", history.lines(classes), (0, 1)),
        "map_sizes": Panel(
            "AP by object size, IoU .50:.95", history.lines({key: aps[key] for key in list(aps)[3:]}), (0, 1)
        ),
    }
    pictures = [
        Picture(name, plots.png(plots.curves_plot([panel], history.trained)), f"{panel.title} over epochs of training.")
        for name, panel in panels.items()
    ]
    return Section("Curves", "From metrics.csv; AP on validation. Stars: before training.", pictures)


def _forgetting_section(history: RunHistory) -> list[Section]:
    """What is still known of the reference; nothing of a run without one."""
    lines = history.lines({f"val/{key}": f"reference, {name}" for key, name in _REFERENCE_NAMES.items()})
    if not lines:
        return []
    ends = (history.curves.of(f"val/{key}") for key in _REFERENCE_NAMES)
    columns = [
        history.before,
        history.after,
        {key: value for key, end in zip(_REFERENCE_NAMES, ends, strict=True) for value in end.values()},
        history.test,
    ]
    rows = [
        (name, *(number(scores.get(key, math.nan)) for scores in columns)) for key, name in _REFERENCE_NAMES.items()
    ]
    panel = Panel("mAP", [*lines, *history.lines({"val/map": "validation, mAP, IoU .50:.95"}, coloured=False)], (0, 1))
    plot = plots.png(plots.curves_plot([panel], history.trained))
    header = ("measure", "before training", "chosen epoch", "last epoch", "on its test pictures")
    return [
        Section(
            "Forgetting",
            "Zero-shot on the reference, a dataset that training never saw, with its own phrases.",
            [Picture("forgetting", plot, "mAP on the reference and on validation over epochs of training.")],
            [Table("Scores on the reference", header, rows)],
        )
    ]


def _over_history(history: RunHistory) -> list[Picture]:
    boxes = "val/over/boxes_per_object"
    panels = [
        Panel(
            "boxes per object",
            [
                *history.lines({boxes: "all classes"}, coloured=False),
                *history.lines({f"{boxes}/{name}": name for name in history.classes()}),
            ],
            (0, None),
            level=1,
        ),
        Panel(
            "wrong boxes",
            history.lines({f"val/{key}": _POINT_NAMES[key] for key in ("over/false_positives", "over/duplicates")}),
            (0, None),
        ),
        Panel(
            "mean score",
            history.lines({"val/over/hit_score": "of hits", "val/over/miss_score": "of misses"}),
            (0, 1),
        ),
    ]
    if not any(panel.lines for panel in panels):
        return []
    figure = plots.curves_plot(panels, history.trained)
    caption = "On validation, by epoch; the thin line is one box per object."
    return [Picture("over_detection", plots.png(figure), "Over-detection on validation by epoch.", caption)]


def _settings_section(run: Path, environment: Mapping[str, str]) -> Section:
    config = run / "config.yaml"
    return Section(
        "Settings and environment",
        tables=[Table("Environment", ("what", "value"), list(environment.items()))],
        listing=config.read_text(encoding="utf-8") if config.exists() else "",
    )


def _scores(row: Mapping[str, str], prefix: str) -> dict[str, float]:
    """Return what a row says of a split, without what could not be measured (-1, as in COCO)."""
    scores = {name.removeprefix(prefix): float(value) for name, value in row.items() if name.startswith(prefix)}
    return {name: value for name, value in scores.items() if value != UNDEFINED}


def _epoch(row: Mapping[str, str]) -> int:
    return int(float(row.get("epoch", -1)))  # Lightning logs it as 3 or as 3.0
