"""Plots of a run in one style: a column of panels narrow enough for a telephone, colours for every kind of sight.

Letters: C classes.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gdino_lightning.evaluation.bootstrap import RECALLS
from gdino_lightning.evaluation.curves import PrecisionRecall
from gdino_lightning.evaluation.records import Ints
from gdino_lightning.evaluation.reliability import Reliability
from gdino_lightning.evaluation.sizes import SIZES, SizeCount
from gdino_lightning.inference.draw import color_of

_WIDTH, _PANEL_HEIGHT = 6.4, 3.4  # inches
_DPI = 150
_DASHES = ("-", "--", "-.", ":")
_MOST_NAMED = 10  # lines that a legend names
_MOST_NUMBERED = 12  # classes up to which the cells of a confusion matrix are numbered
_GREY = "0.75"


@dataclass(frozen=True)
class Line:
    """A curve over epochs.

    Attributes:
        name: Its name in the legend.
        values: Value by epochs of training; NaN is a gap.
        before: Value before any training, drawn as a star; None where there is none.
        label: Class index, whose colour the curve has; None for all classes together: black.
    """

    name: str
    values: Mapping[float, float]
    before: float | None = None
    label: int | None = None


@dataclass(frozen=True)
class Panel:
    """Some curves that share their axes.

    Attributes:
        title: What they show.
        lines: The curves.
        limits: Lowest and highest value shown; None for what there is.
        level: Value of a thin horizontal line: what would be right.
    """

    title: str
    lines: Sequence[Line] = field(default_factory=list)
    limits: tuple[float | None, float | None] = (None, None)
    level: float | None = None


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def curves_plot(panels: Sequence[Panel], chosen: float | None) -> Figure:
    """Draw panels of curves over epochs, one below the other.

    Args:
        panels: At least one.
        chosen: Epochs of training of the checkpoint that was chosen, a dotted line; None for none.
    """
    figure, axes = _column(len(panels))
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel)
        if chosen is not None:
            axis.axvline(chosen, color="black", linewidth=0.8, linestyle=":")
    axes[-1].set_xlabel("epochs of training" + (" (dotted: the chosen checkpoint)" if chosen is not None else ""))
    return figure


def precision_recall_plot(curves: Sequence[PrecisionRecall], class_names: Sequence[str]) -> Figure:
    """Draw precision over recall of every class that has a true box; those with most boxes are named."""
    figure, (axis,) = _column(1, 4.4)
    known = sorted((c for c, curve in enumerate(curves) if curve.num_truths), key=lambda c: -curves[c].num_truths)
    for place, label in reversed(list(enumerate(known))):
        curve = curves[label]
        reached = curve.max_recall >= RECALLS
        named = place < _MOST_NAMED
        axis.plot(
            RECALLS[reached],
            curve.precision[reached],
            color=_class_color(label) if named else _GREY,
            linestyle=_DASHES[place % len(_DASHES)] if named else "-",
            linewidth=1.8 if named else 0.8,
            label=f"{class_names[label]}: AP {curve.average_precision:.2f}" if named else None,
        )
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.legend(handles[::-1], labels[::-1], fontsize="small")
    return figure


def confusion_plot(counts: Ints, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: counts, coloured by their share of the row.

    Args:
        counts: (C + 1, C + 1) by true (row) and detected class, background last.
        class_names: C names.
    """
    names = [*class_names, "background"]
    side = min(_WIDTH + 0.25 * max(0, len(names) - 8), 14)
    figure = Figure(figsize=(side, side * 0.84), layout="constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="Blues", norm=Normalize(0, 1))
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="detected as", ylabel="truth")
    if len(class_names) <= _MOST_NUMBERED:
        for row, column in np.ndindex(*counts.shape):
            nothing = row == column == len(class_names)  # how often nothing was found where nothing is: uncountable
            text = "—" if nothing else f"{counts[row, column]}\n{shares[row, column]:.0%}"
            color = "white" if shares[row, column] > 0.55 else "black"
            axis.text(column, row, text, ha="center", va="center", color=color, fontsize="small")
    figure.colorbar(image, ax=axis, label="share of the row", fraction=0.046)
    return figure


def sizes_plot(counts: Sequence[Sequence[SizeCount]], class_names: Sequence[str]) -> Figure:
    """Draw the recall of each size, one bar for each class that has the most boxes, numbered with its boxes."""
    figure, (axis,) = _column(1)
    shown = sorted(range(len(counts)), key=lambda label: -sum(count.total for count in counts[label]))[:_MOST_NAMED]
    shown = [label for label in sorted(shown) if sum(count.total for count in counts[label])]
    width = 0.8 / max(len(shown), 1)
    for place, label in enumerate(shown):
        centres = np.arange(len(SIZES)) + (place - (len(shown) - 1) / 2) * width
        recalls = [0.0 if math.isnan(count.recall) else count.recall for count in counts[label]]
        bars = axis.bar(centres, recalls, 0.92 * width, color=_class_color(label), label=class_names[label])
        if len(shown) <= 6:  # more bars are too narrow for numbers
            axis.bar_label(bars, [str(count.total) for count in counts[label]], fontsize="small", padding=1)
    axis.set_xticks(range(len(SIZES)), ["small: below 32² px", "medium", "large: from 96² px"])
    axis.set(ylim=(0, 1.1), ylabel="recall")
    if shown:
        figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    return figure


def reliability_plot(curves: Mapping[str, Reliability]) -> Figure:
    """Draw how often detections are right over how sure they are, and below how many there are.

    Args:
        curves: Reliability by name, as raw scores and calibrated ones.
    """
    figure = Figure(figsize=(_WIDTH, 5.2), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    for place, (name, reliability) in enumerate(curves.items()):
        filled = [each for each in reliability.bins if each.count]
        color, dashes = _class_color(2 * place), _DASHES[place % len(_DASHES)]
        label = f"{name}: ECE {reliability.ece:.3f}" if filled else f"{name}: no detections"
        points = [each.confidence for each in filled], [each.accuracy for each in filled]
        above.plot(*points, color=color, linestyle=dashes, marker="o", label=label)
        edges = [each.low for each in reliability.bins] + [1.0]
        below.stairs([each.count for each in reliability.bins], edges, color=color, linestyle=dashes, linewidth=1.6)
    for axis in (above, below):
        _dress(axis)
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    above.legend(fontsize="small")
    below.set(yscale="symlog", ylim=(0, None), xlabel="confidence", ylabel="detections")
    return figure


def change_plot(before: Mapping[str, float], after: Mapping[str, float]) -> Figure:
    """Draw how values moved: an open circle before, a filled one after."""
    figure = Figure(figsize=(_WIDTH, 1.3 + 0.32 * len(before)), layout="constrained")
    axis = figure.subplots()
    _dress(axis)
    places = range(len(before))
    old, new = list(before.values()), [after[name] for name in before]
    axis.hlines(places, old, new, color=_GREY, linewidth=3, zorder=1)
    axis.scatter(old, places, facecolor="white", edgecolor="black", label="before training", zorder=2)
    axis.scatter(new, places, color=_class_color(0), edgecolor="black", label="fine-tuned", zorder=3)
    axis.set_yticks(places, list(before))
    axis.invert_yaxis()
    axis.set(xlim=(-0.02, 1.02), xlabel="average precision")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _column(count: int, height: float = _PANEL_HEIGHT) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height * count), layout="constrained")
    axes = list(figure.subplots(count, squeeze=False).flat)
    for axis in axes:
        _dress(axis)
    return figure, axes


def _dress(axis: Axes) -> None:
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    for place, line in enumerate(panel.lines):
        color = "black" if line.label is None else _class_color(line.label)
        dashes = _DASHES[place % len(_DASHES)]
        marker = "." if len(line.values) <= 60 else ""
        epochs, values = list(line.values), list(line.values.values())
        axis.plot(epochs, values, color=color, linestyle=dashes, marker=marker, label=line.name)
        if line.before is not None:
            axis.plot([0], [line.before], marker="*", markersize=11, color=color, clip_on=False)
    if panel.level is not None:
        axis.axhline(panel.level, color="black", linewidth=0.8)
    axis.set_title(panel.title, loc="left", fontsize="medium")
    axis.set_ylim(*panel.limits)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not panel.lines:
        axis.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axis.transAxes, color="grey")
    elif len(panel.lines) <= _MOST_NAMED:
        axis.legend(fontsize="small")


def _class_color(label: int) -> tuple[float, float, float]:
    """Colour of a class as in the pictures, RGB in 0..1."""
    red, green, blue = color_of(label)
    return red / 255, green / 255, blue / 255
