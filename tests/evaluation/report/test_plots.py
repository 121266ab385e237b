"""Plots, asked for what they show: the data of their lines, bars and cells."""

import math

import cv2
import numpy as np
import pytest

from gdino_lightning.evaluation.curves import PrecisionRecall
from gdino_lightning.evaluation.reliability import Reliability
from gdino_lightning.evaluation.report import plots
from gdino_lightning.evaluation.sizes import SizeCount
from gdino_lightning.inference.draw import color_of


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()] if axis.get_legend() else []


def test_curves_have_their_values_a_star_before_training_and_the_chosen_epoch():
    panel = plots.Panel("mAP", [plots.Line("all", {1.0: 0.2, 2.0: math.nan, 3.0: 0.4}, before=0.1)], (0, 1), level=0.5)
    figure = plots.curves_plot([panel, plots.Panel("nothing")], chosen=3.0)
    first, second = figure.axes
    curve, star, level, chosen = first.get_lines()
    assert curve.get_xdata().tolist() == [1, 2, 3]
    assert curve.get_ydata().tolist() == pytest.approx([0.2, math.nan, 0.4], nan_ok=True)
    assert (star.get_marker(), list(star.get_xdata()), list(star.get_ydata())) == ("*", [0], [0.1])
    assert list(level.get_ydata()) == [0.5, 0.5]
    assert list(chosen.get_xdata()) == [3, 3]
    assert [text.get_text() for text in second.texts] == ["not logged"]


def test_precision_stops_at_the_last_recall_and_classes_have_their_colours():
    precision = np.where(np.arange(101) <= 40, 0.5, 0.0)
    empty = PrecisionRecall(np.zeros(101), 0)
    figure = plots.precision_recall_plot([empty, PrecisionRecall(precision, 3)], ["never", "seen"])
    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata()[-1] == pytest.approx(0.4)
    assert [round(255 * part) for part in line.get_color()] == list(color_of(1))
    assert legend(figure.axes[0]) == [f"seen: AP {0.5 * 41 / 101:.2f}"]


def test_of_many_classes_those_with_most_boxes_are_named():
    curves = [PrecisionRecall(np.ones(101), count) for count in range(1, 41)]
    axis = plots.precision_recall_plot(curves, [f"class {count}" for count in range(1, 41)]).axes[0]
    assert len(axis.get_lines()) == 40
    assert [text.split(":")[0] for text in legend(axis)] == [f"class {count}" for count in range(40, 30, -1)]


def test_cells_of_the_confusion_matrix_hold_count_and_share_of_the_row():
    axis = plots.confusion_plot(np.array([[6, 2], [1, 0]]), ["mask"]).axes[0]
    assert [text.get_text() for text in axis.texts] == ["6\n75%", "2\n25%", "1\n100%", "—"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["mask", "background"]
    assert axis.images[0].get_array().tolist() == [[0.75, 0.25], [1, 0]]


def test_a_matrix_of_many_classes_has_no_numbers_and_stays_small():
    figure = plots.confusion_plot(np.zeros((81, 81), int), [str(number) for number in range(80)])
    assert not figure.axes[0].texts
    assert max(figure.get_size_inches()) <= 14


def test_bars_are_recalls_numbered_with_boxes():
    counts = [[SizeCount(4, 1), SizeCount(0, 0), SizeCount(2, 2)], [SizeCount(0, 0)] * 3]
    axis = plots.sizes_plot(counts, ["mask", "absent"]).axes[0]
    (bars,) = axis.containers
    assert [bar.get_height() for bar in bars] == [0.25, 0, 1]
    assert [text.get_text() for text in axis.texts] == ["4", "0", "2"]


def test_reliability_shows_filled_bins_only():
    reliability = Reliability.of(np.array([0.15, 0.15, 0.95]), np.array([True, False, True]))
    axis = plots.reliability_plot({"raw": reliability}).axes[0]
    _, curve = axis.get_lines()
    assert list(curve.get_xdata()) == pytest.approx([0.15, 0.95])
    assert list(curve.get_ydata()) == pytest.approx([0.5, 1.0])
    # (2 * |.15 - .5| + |.95 - 1|) / 3
    assert legend(axis) == ["raw: ECE 0.250"]


def test_changes_go_from_the_open_circle_to_the_filled_one():
    axis = plots.change_plot({"mAP": 0.1, "AP, mask": 0.6}, {"mAP": 0.5, "AP, mask": 0.4}).axes[0]
    before, after = (points for points in axis.collections if len(points.get_offsets()) == 2)
    assert before.get_offsets()[:, 0].tolist() == [0.1, 0.6]
    assert after.get_offsets()[:, 0].tolist() == [0.5, 0.4]


def test_a_figure_becomes_a_png_of_a_telephones_width():
    data = plots.png(plots.curves_plot([plots.Panel("loss")], None))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (510, 960, 3)
