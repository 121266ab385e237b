"""results.png: the curves of a run, drawn from its metrics.csv when training ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gdino_lightning.errors import ConfigError
from gdino_lightning.signals import is_ending
from gdino_lightning.training.metrics_csv import MetricsCSVLogger, Row, read_metrics

_MAP = ("val/map", "val/map_50", "val/map_75", "val/reference/map", "val/reference/map_50")
_SIZES = ("val/map_small", "val/map_medium", "val/map_large")
_OVER_DETECTION = {
    "boxes_per_object": "boxes per object",
    "duplicates": "duplicates per object",
    "false_positives": "false positives per picture",
    "empty_false_positives": "false positives per picture without objects",
    "hit_score": "mean score of hits",
    "miss_score": "mean score of misses",
}
_ALL = "all"  # label of the measures of all classes
_MAYBE_UNDEFINED = (
    "val/map",
    "val/over/",
    "val/reference/",
    "val/working/",
)  # COCO's -1 where there is nothing to measure


class ResultsPlot(Callback):
    """Draws `report/results.png` in the run's folder when training ends, also when it fails.

    Raises:
        ConfigError: no `MetricsCSVLogger` is attached to the trainer.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fail before training rather than after it."""
        if stage == "fit" and not trainer.fast_dev_run and _table(trainer) is None:  # type: ignore[attr-defined]
            raise ConfigError("results.png is drawn from metrics.csv: add MetricsCSVLogger to trainer.logger")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._draw(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what there is: most wanted when training went wrong, and no matter of a signal, which leaves no time."""
        if not is_ending(exception):
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        table = _table(trainer)
        if trainer.is_global_zero and table is not None and table.exists():
            plot_results(table, table.parent / "report" / "results.png")


@dataclass(frozen=True)
class Curves:
    """The numbers of a metrics.csv by name and step.

    Attributes:
        names: columns, in the order of the file.
        rows: rows, in the order of the file.
        zero_shot: the one of the validation before any training, empty where there was none.
    """

    names: list[str]
    rows: list[Row]
    zero_shot: Row

    @classmethod
    def read(cls, table: Path) -> "Curves":
        """Read a metrics.csv; its first scored row is zero-shot if it stands at step 0 and precedes training.

        Columns stand in the order in which they were first logged, so they tell what came first also where
        the score and the first training step share a row.
        """
        names, rows = read_metrics(table)
        first = next((row for row in rows if "val/map" in row), {})
        begun = next((name for name in names if name == "val/map" or name.startswith(("train/", "lr-"))), "")
        return cls(names, rows, first if first.get("step") == "0" and begun == "val/map" else {})

    def of(self, name: str) -> dict[int, float]:
        """Return a curve, value by step; where a step was logged again, the later value."""
        rows = self._trained() if name.startswith("val/") else self.rows
        values = {int(row["step"]): float(row[name]) for row in rows if name in row and "step" in row}
        missing = -1.0 if name.startswith(_MAYBE_UNDEFINED) else math.nan
        return {step: math.nan if values[step] == missing else values[step] for step in sorted(values)}

    def highest(self) -> tuple[str, int, float] | None:
        """Return epoch, step and value of the highest val/map, the first of equal ones.

        Of rows of one epoch and step, as resuming and validating a checkpoint add them, the last one counts.
        """
        rows = [row for row in self._trained() if "val/map" in row and "step" in row]
        scores = {(_epoch(row), int(row["step"])): float(row["val/map"]) for row in rows}
        known = [(*point, score) for point, score in scores.items() if not math.isnan(score)]
        return max(known, key=lambda point: point[2], default=None)

    def _trained(self) -> list[Row]:
        return [row for row in self.rows if row is not self.zero_shot]


def _epoch(row: Row) -> str:
    return str(int(float(row["epoch"]))) if "epoch" in row else "?"  # Lightning logs it as 3 or as 3.0


def plot_results(table: Path, picture: Path) -> None:
    """Draw losses, learning rates, mAP (all, by class, by size) and over-detection by class over optimizer steps.

    Args:
        table: a metrics.csv.
        picture: the PNG to write; its folder is made.
    """
    curves = Curves.read(table)
    figure = Figure(figsize=(15, 16), layout="constrained")
    axes = list(figure.subplots(4, 3).flat)
    _panel(axes[0], curves, "loss", lambda name: name in ("train/loss", "val/loss"))
    _panel(axes[1], curves, "parts of the loss", lambda name: "/loss_" in name and not name.startswith("test"))
    _panel(axes[2], curves, "learning rate", lambda name: name.startswith("lr-"))
    _panel(axes[3], curves, "mAP", lambda name: name in _MAP)
    _panel(axes[4], curves, "mAP by class", lambda name: name.startswith("val/map/"))
    _panel(axes[5], curves, "mAP by size", lambda name: name in _SIZES)
    for axis, (measure, title) in zip(axes[6:], _OVER_DETECTION.items(), strict=True):
        _over_detection_panel(axis, curves, f"val/over/{measure}", title)
    best = curves.highest()
    for axis in (*axes[3:6], *axes[10:]):
        axis.set_ylim(0, 1)
    if best is not None:
        for axis in axes[3:]:
            axis.axvline(best[1], color="black", linewidth=0.8, linestyle=":")
        figure.suptitle(f"highest val/map: {best[2]:.3f} in epoch {best[0]}   (dotted line; stars: before training)")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)


def _over_detection_panel(axis: Axes, curves: Curves, key: str, title: str) -> None:
    _panel(axis, curves, title, lambda name: name == key or name.startswith(f"{key}/"))
    axis.set_ylim(bottom=0)


def _panel(axis: Axes, curves: Curves, title: str, wanted: Callable[[str], bool]) -> None:
    lines = {name: curves.of(name) for name in curves.names if wanted(name)}
    for name, values in lines.items():
        marker = "" if len(values) > 60 else "."
        label = _short(name)
        colour = "black" if label == _ALL else None  # so that a class has one colour in all panels
        (line,) = axis.plot(
            list(values), list(values.values()), marker=marker, linewidth=1.2, color=colour, label=label
        )
        if name.startswith(_MAYBE_UNDEFINED) and float(curves.zero_shot.get(name, -1)) >= 0:
            axis.plot([0], [float(curves.zero_shot[name])], marker="*", color=line.get_color(), markersize=10)
    axis.set_title(title)
    axis.set_xlabel("optimizer step")
    axis.grid(alpha=0.3)
    known = any(not math.isnan(value) for values in lines.values() for value in values.values())
    if not known:
        says = "nothing to measure" if lines else "not logged"
        axis.text(0.5, 0.5, says, ha="center", va="center", transform=axis.transAxes, color="grey")
    elif len(lines) <= 20:
        axis.legend(fontsize="small")


def _short(name: str) -> str:
    """Return the class of a value by class, `all` for over-detection of all classes, and other names as they are."""
    if name.startswith("val/over/"):
        return "/".join(name.split("/")[3:]) or _ALL
    return name.removeprefix("val/map/")


def _table(trainer: Trainer) -> Path | None:
    return next((each.path for each in trainer.loggers if isinstance(each, MetricsCSVLogger)), None)
