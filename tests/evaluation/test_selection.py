"""The rule of selection on candidates whose right choice is plain, and what it reads from records."""

import numpy as np
import pytest
from random_records import random_records

from gdino_lightning.evaluation.bootstrap import bootstrap_map
from gdino_lightning.evaluation.calibration import calibrate
from gdino_lightning.evaluation.over_detection import over_detection
from gdino_lightning.evaluation.selection import Candidate, choose, table


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([Candidate(0.5)], 0),
        ([Candidate(0.4), Candidate(0.5), Candidate(0.5)], 1),  # no error known: the first of the best
        ([Candidate(0.40, 0.3), Candidate(0.47, 0.3), Candidate(0.50, 0.04)], 1),  # the error of the best one counts
        ([Candidate(-1.0), Candidate(-1.0)], 0),  # COCO's value where there is nothing to find
        # clearly more boxes; fewer than one for each object is no merit
        ([Candidate(0.49, 0.02, 1.6), Candidate(0.5, 0.02, 1.3), Candidate(0.5, 0.02, 1.2)], 1),
        ([Candidate(0.49, 0.02, 1.2), Candidate(0.5, 0.02, 0.1)], 0),
        # few boxes of an epoch that is out by its mAP are no measure for the others
        ([Candidate(0.10, 0.02, 1.0), Candidate(0.5, 0.02, 2.0)], 1),
        # clearly less true, but only among those that are left
        ([Candidate(0.49, 0.02, 1.0, 0.2), Candidate(0.5, 0.02, 1.0, 0.1)], 1),
        ([Candidate(0.49, 0.02, 1.0, 0.2), Candidate(0.5, 0.02, 3.0, 0.1)], 0),
        ([Candidate(0.49, 0.02, 1.0, 0.05), Candidate(0.5, 0.02, 1.0, -1.0)], 0),  # -1: nothing was found to measure
    ],
)
def test_the_rule(candidates, chosen):
    choice = choose(candidates)
    assert choice.index == chosen
    assert len(choice.verdicts) == len(candidates)
    assert [place for place, verdict in enumerate(choice.verdicts) if verdict.startswith("chosen")] == [chosen]


def test_a_preference_decides_among_those_that_are_as_good():
    candidates = [Candidate(0.2, 0.05), Candidate(0.48, 0.05), Candidate(0.5, 0.05), Candidate(0.47, 0.05)]
    assert choose(candidates, [0.9, 0.3, 0.1, 0.4]).index == 3
    assert choose(candidates, [0.9, 0.4, 0.1, 0.4]).index == 1


def test_the_table_gives_each_its_numbers_and_its_reason():
    candidates = [Candidate(0.3, 0.02, 1.1, 0.04), Candidate(0.61, 0.02, 3.0, 0.01), Candidate(0.62, 0.02, 1.2, 0.3)]
    candidates += [Candidate(0.61, 0.03, 1.25, 0.02), Candidate(0.615, 0.03, 1.2, 0.03)]
    names = [f"epoch {number}" for number in range(5)]
    lines = table(names, candidates, choose(candidates), reference=[0.1, float("nan"), 0.2, 0.3, 0.4]).splitlines()
    assert lines[0].startswith("| weights | mAP | ± standard error | boxes/object | calibration error | reference |")
    assert lines[2] == (
        "| epoch 0 | 0.300 | 0.020 | 1.100 | 0.040 | 0.100 | mAP below 0.600, the best less one standard error |"
    )
    assert lines[3].endswith("| 0.010 |  | 3.00 boxes per object, against 1.20 |")
    assert lines[4].endswith("| 0.30 calibration error, against 0.02 |")
    assert lines[5].endswith("| chosen: the first of 2 as good |")
    assert lines[6].endswith("| as good, not the first |")


def test_a_candidate_is_measured_at_its_own_thresholds():
    records, names = random_records(30, 2), ["a", "b"]
    calibration = calibrate(records, names)
    measured = Candidate.measure(records, names, calibration)
    assert measured.score == bootstrap_map(records, 2).map.value
    assert measured.error == bootstrap_map(records, 2).map.error
    assert measured.ece == calibration.ece_after
    over = over_detection(records, names, calibration.thresholds)
    assert measured.boxes_per_object == over["over/boxes_per_object"]
    assert Candidate(**measured.to_plain()) == measured
    assert all(type(value) is float for value in measured.to_plain().values())
    assert np.isfinite(list(measured.to_plain().values())).all()
