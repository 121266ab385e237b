"""What the sections say of pictures that are counted by hand."""

import numpy as np
import pytest
from random_records import random_records

from gdino_lightning.evaluation.calibration import calibrate
from gdino_lightning.evaluation.records import PictureRecord, RecordSet
from gdino_lightning.evaluation.report import sections
from gdino_lightning.evaluation.report.sections import NOTHING, Subject, number

HERE, THERE, NOWHERE = [0, 0, 20, 20], [50, 50, 150, 150], [200, 200, 240, 240]


@pytest.fixture
def subject() -> Subject:
    """`a` found, found again and invented, `b` missed with a low score, `a` found in an empty picture."""
    one = PictureRecord(
        0,
        np.array([HERE, THERE], np.float32),
        np.array([0, 1]),
        np.array([HERE, [0, 0, 20, 19], NOWHERE, THERE], np.float32),
        np.array([0.9, 0.8, 0.6, 0.1], np.float32),
        np.array([0, 0, 0, 1]),
    )
    empty = np.zeros((0, 4), np.float32)
    two = PictureRecord(
        1, empty, np.zeros(0, np.int64), np.array([HERE], np.float32), np.array([0.5], np.float32), np.array([0])
    )
    return Subject("test", RecordSet(("a", "b"), ("one.png", "two.png"), (one, two)))


def rows(section) -> dict[str, list[str]]:
    table = section.tables[0]
    assert all(len(row) == len(table.header) for row in table.rows)
    return {row[0]: list(row[1:]) for row in table.rows}


def test_precision_and_recall(subject):
    section = sections.precision_recall_section(subject)
    # the second box on HERE overlaps too much for the NMS of the fixed thresholds
    assert rows(section) == {
        "a": ["1", "1.000", "0.333", "1.000", "0.500"],
        "b": ["1", "1.000", NOTHING, "0.000", "0.000"],
        "all classes": ["2", NOTHING, "0.333", "0.500", "0.400"],
    }
    assert "score 0.35, NMS IoU 0.5" in section.text


def test_confusion_in_words(subject):
    (plot,) = sections.confusion_section(subject).plots
    assert plot.alt == (
        "Confusion matrix: of 2 objects 1 are right, 0 taken for another class and 1 missed; "
        "2 detections are on background."
    )


def test_sizes(subject):
    section = sections.sizes_section(subject, {"map_small": 0.25})
    assert rows(section) == {
        "small": ["1", "1", "1.000", "0.250"],
        "medium": ["0", "0", NOTHING, NOTHING],
        "large": ["1", "0", "0.000", NOTHING],
    }


def test_over_detection(subject):
    section = sections.over_detection_section(subject, [])
    assert rows(section) == {
        "all classes": ["1.50", "1.00", "0.00", "0.90", "0.55", "1.00"],
        "a": ["3.00", "1.00", "0.00", "0.90", "0.55", "1.00"],
        "b": ["0.00", "0.00", "0.00", NOTHING, NOTHING, "0.00"],
    }


def test_without_calibration_the_section_says_so(subject):
    section = sections.calibration_section(subject)
    # confidences .9 (right), .6 and .5 (wrong), each alone in its bin: (.1 + .6 + .5) / 3
    assert "raw scores: 0.400." in section.text
    assert "nothing was calibrated" in section.text
    assert not section.tables


def test_calibrated_thresholds_are_used_and_shown():
    records = tuple(random_records(60, num_classes=2))
    calibration = calibrate(records, ["a", "b"], min_boxes=10**6)
    calibrated = Subject("validation", RecordSet(("a", "b"), ("x.png",) * 60, records), calibration)
    section = sections.calibration_section(calibrated)
    assert rows(section)["a"][1] == f"{calibration.thresholds.scores[0]:.3f}"
    assert "for a, b: too few validation boxes" in section.text
    assert f"temperature {calibration.thresholds.temperature:.2f}" in section.text
    assert calibrated.together.found == sum(len(record.labels) for record in calibrated.shown)


def test_what_calibration_is_worth_stands_beside_fixed_thresholds(subject):
    calibration = calibrate(subject.seen.records, ["a", "b"], min_boxes=1, evidence=0)
    section = sections.calibration_section(Subject("test", subject.seen, calibration))
    # parted between .9 and .6, and below .1
    assert section.tables[1].rows == [
        ("calibrated", "1.000", "1.000", "1.000"),
        ("score 0.35, NMS IoU 0.5", "0.333", "0.500", "0.400"),
        ("score 0.35, NMS IoU 0.8", "0.333", "0.500", "0.400"),
    ]


@pytest.mark.parametrize("value", [-1, -1.0, float("nan")])
def test_what_is_not_defined_is_a_dash(value):
    assert number(value) == NOTHING


def test_numbers_have_three_places():
    assert number(0) == "0.000"
    assert number(2 / 3) == "0.667"
