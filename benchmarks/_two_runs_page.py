"""The tables and the picture of `two_runs`, and the page that holds them."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks._runs import Scores, flags
from gdino_lightning.errors import ConfigError

NOT_RUN = "*Not run yet.*"
EVERY = 5  # epochs between two rows of the table of epochs
_UNKNOWN = "-"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_POINTS = {"fixed": "0.35, NMS 0.5", "loose": "0.35, NMS 0.8", "own": "calibrated"}
_MEASURES = ("boxes_per_object", "false_positives", "ece", "f1")
_SHOWN_SETTINGS = (
    "model.weights",
    "model.optimizer",
    "model.learning_rate",
    "model.schedule",
    "model.warmup_steps",
    "model.weight_decay",
    "model.dropout",
    "model.freeze",
    "model.negatives",
    "data.batch_size",
    "data.augmentation",
    "data.val",
    "data.short_side",
    "trainer.gradient_clip_val",
    "trainer.max_epochs",
)
_COLOURS = ("#D55E00", "#E69F00", "#0072B2")  # told apart by all kinds of sight (Okabe and Ito)
_PANELS = {"boxes_per_object": "boxes per object", "map": "mAP", "ece": "expected calibration error"}


@dataclass(frozen=True)
class Finished:
    """A run that is trained and scored.

    Attributes:
        title: What it is called on the page.
        arguments: Key -> value of its `gdino fit`.
        settings: Key -> value of everything that it was trained with, defaults left out.
        selects: It hands over the chosen epoch, not the last one.
        last: Epochs of training of the last epoch.
        chosen: Those of the chosen epoch.
        epochs: Its rows, as in `History`.
        seconds: Time the training took.
    """

    title: str
    arguments: dict[str, object]
    settings: dict[str, object]
    selects: bool
    last: int
    chosen: int
    epochs: list[Scores]
    seconds: float

    @property
    def handed_over(self) -> int:
        """Epochs of training of the epoch that its user gets."""
        return self.chosen if self.selects else self.last

    def at(self, epoch: int) -> Scores:
        """Return the row of an epoch, empty where there is none."""
        return next((row for row in self.epochs if row["epoch"] == epoch), {})

    def curve(self, key: str) -> dict[int, float]:
        """Return a number by epochs of training, where it is known."""
        return {int(row["epoch"]): row[key] for row in self.epochs if row.get(key, -1) != -1}


def tables(runs: Sequence[Finished], variants: Sequence[Finished]) -> dict[str, str]:
    """Draw every table of the page by its name; what was not run says so.

    Args:
        runs: The runs of the picture.
        variants: The runs of the table of epochs.
    """
    return {
        "commands": _commands(runs) if runs else NOT_RUN,
        "settings": _settings(runs) if runs else NOT_RUN,
        "handed_over": _handed_over(runs) if runs else NOT_RUN,
        "variants": _settings(variants) if variants else NOT_RUN,
        "epochs": _epochs(variants) if variants else NOT_RUN,
    }


def fill(page: str, found: Mapping[str, str]) -> str:
    """Put tables between their marks, `<!-- table: NAME -->` and `<!-- end -->`.

    Raises:
        ConfigError: The page does not have exactly these marks, once each.
    """
    names = [match[2] for match in _BLOCK.finditer(page)]
    if sorted(names) != sorted(found):
        raise ConfigError(f"the page marks the tables {', '.join(names) or 'none'}, expected {', '.join(found)}")
    return _BLOCK.sub(lambda match: f"{match[1]}{found[match[2]]}\n{match[3]}", page)


def picture(runs: Sequence[Finished]) -> Figure:
    """Draw over-detection, mAP and calibration error of the runs over epochs, with what each hands over.

    Solid lines are at the thresholds that a run gives its user: its calibrated ones, else the literature's; a dashed
    line shows a calibrated run at the literature's, too.
    """
    figure = Figure(figsize=(14, 4.4), layout="constrained")
    for axis, (key, title) in zip(figure.subplots(1, len(_PANELS), sharex=True), _PANELS.items(), strict=True):
        for run, colour in zip(runs, _COLOURS, strict=False):
            _draw_run(axis, run, key, colour)
        axis.set(title=title, xlabel="epochs of training (0: before training)")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    first = figure.axes[0]
    first.axhline(1, color="grey", linewidth=0.8)
    first.legend(fontsize="small")
    figure.suptitle("Test pictures. Circle and dotted line: the epoch that is handed over", fontsize="medium")
    return figure


def _draw_run(axis: Axes, run: Finished, key: str, colour: str) -> None:
    shown = _shown(run, key)
    curve = run.curve(shown)
    axis.plot(list(curve), list(curve.values()), color=colour, linewidth=1.6, label=run.title)
    if shown.startswith("own/"):
        fixed = run.curve(f"fixed/{key}")
        label = f"{run.title}, thresholds of the literature"
        axis.plot(list(fixed), list(fixed.values()), color=colour, linewidth=1, linestyle="--", label=label)
    axis.axvline(run.handed_over, color=colour, linewidth=1, linestyle=":")
    value = curve.get(run.handed_over, math.nan)
    axis.plot([run.handed_over], [value], marker="o", markersize=9, color=colour, markeredgecolor="black")


def _shown(run: Finished, key: str) -> str:
    """Return the name of a measure at the thresholds that the run's user gets."""
    if key == "map":
        return key
    own = f"own/{key}"
    return own if own in run.at(run.handed_over) else f"fixed/{key}"


def _commands(runs: Iterable[Finished]) -> str:
    lines = []
    for run in runs:
        shown = {key: value for key, value in run.arguments.items() if key != "trainer.callbacks"}
        lines.append(" \\\n    ".join(["gdino fit", *map(shlex.quote, flags(shown))]))
    return "\n".join(["```", *lines, "```"])


def _settings(runs: Sequence[Finished]) -> str:
    rows = [[key, *(_setting(run, key) for run in runs)] for key in _SHOWN_SETTINGS]
    differing = [["setting", *(run.title for run in runs)], *(row for row in rows if any(row[1:]))]
    return _table([*differing, ["minutes of training", *(f"{run.seconds / 60:.1f}" for run in runs)]])


def _setting(run: Finished, key: str) -> str:
    """Write a setting as YAML has it in a line; nothing where the run leaves it at its default."""
    if key not in run.settings:
        return ""
    return flags({"": run.settings[key]})[0].removeprefix("--=")


def _handed_over(runs: Sequence[Finished]) -> str:
    head = ["weights", "thresholds", "mAP ± standard error", "mAP50", "boxes per object"]
    rows = [[*head, "false positives per picture", "calibration error", "F1"]]
    rows += _at_points("before training", runs[0].at(0))
    for run in runs:
        how = "selected" if run.selects else "the last"
        rows += _at_points(f"{run.title}: epoch {run.handed_over}, {how}", run.at(run.handed_over))
    return _table(rows)


def _at_points(name: str, scores: Scores) -> list[list[str]]:
    """Rows of one checkpoint, one for each working point that it has."""
    known = [point for point in _POINTS if f"{point}/f1" in scores]
    average = [f"{_number(scores, 'map')} ± {_number(scores, 'map_error')}", _number(scores, "map_50")]
    return [
        [name, _POINTS[point], *average, *(_number(scores, f"{point}/{key}") for key in _MEASURES)] for point in known
    ]


def _epochs(variants: Sequence[Finished]) -> str:
    last = max(run.last for run in variants)
    shown = sorted({1, *range(EVERY, last + 1, EVERY), last})
    rows = [["", *(run.title for run in variants)]]
    rows += [[f"val mAP, epoch {epoch}", *(_number(run.at(epoch), "val/map") for run in variants)] for epoch in shown]
    rows.append(["selected epoch", *(str(run.chosen) for run in variants)])
    for name, key in {"mAP": "map", "boxes per object": "fixed/boxes_per_object"}.items():
        rows.append([f"test {name}, last epoch", *(_number(run.at(run.last), key) for run in variants)])
        rows.append([f"test {name}, selected epoch", *(_number(run.at(run.chosen), key) for run in variants)])
    return _table(rows)


def _number(scores: Scores, key: str) -> str:
    value = scores.get(key, -1)
    return _UNKNOWN if value == -1 else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])
