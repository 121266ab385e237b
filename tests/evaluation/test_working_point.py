import pytest
from hand_made_records import record

from gdino_lightning.evaluation.working_point import at_working_point, working_names, working_scores
from gdino_lightning.inference.thresholds import Thresholds

HERE, NEAR, THERE, AWAY = (0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60), (80, 80, 90, 90)


def test_a_record_keeps_its_truth_and_what_the_thresholds_keep():
    one = record([(0, HERE)], [(0.9, 0, HERE), (0.8, 0, NEAR), (0.7, 1, NEAR), (0.3, 0, THERE)], image_id=5)
    kept = at_working_point(one, Thresholds((0.4, 0.4), (0.5, 0.5)))
    assert (kept.image_id, kept.truth_boxes.tolist(), kept.truth_labels.tolist()) == (5, [list(HERE)], [0])
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])
    assert kept.labels.tolist() == [0, 1]
    assert kept.boxes.tolist() == [list(HERE), list(NEAR)]


def test_scores_at_the_working_point_by_hand():
    pictures = [
        record([(0, HERE), (0, THERE), (1, AWAY)], [(0.95, 0, HERE), (0.85, 0, AWAY), (0.2, 0, THERE), (0.1, 1, AWAY)]),
        record([(0, HERE)], [(0.75, 0, HERE), (0.65, 0, NEAR), (0.55, 2, THERE)], image_id=1),
        record([], [], image_id=2),
    ]
    got = working_scores(pictures, ["a", "b", "c", "d"], Thresholds.fixed(4, 0.4, 0.5))
    # shown are a: .95 hit, .85 miss, .75 hit (.65 is suppressed); b: nothing; c: .55 miss
    assert {key: value for key, value in got.items() if not key.startswith("working/ece")} == pytest.approx(
        {
            "working/precision": 2 / 4,
            "working/recall": 2 / 4,
            "working/f1": 2 / 4,
            "working/f1_mean": (2 / 3 + 0) / 2,
            "working/precision/a": 2 / 3,
            "working/recall/a": 2 / 3,
            "working/f1/a": 2 / 3,
            "working/precision/b": -1,
            "working/recall/b": 0,
            "working/f1/b": 0,
            "working/precision/c": 0,
            "working/recall/c": -1,
            "working/f1/c": 0,
            "working/precision/d": -1,
            "working/recall/d": -1,
            "working/f1/d": -1,
        }
    )
    assert got["working/ece_raw"] == pytest.approx((0.05 + 0.85 + 0.25 + 0.55) / 4)
    assert got["working/ece"] == pytest.approx(got["working/ece_raw"], abs=1e-6)


def test_the_calibrated_error_is_that_of_the_probabilities():
    one = record([(0, HERE)], [(0.8, 0, HERE)])
    got = working_scores([one], ["a"], Thresholds((0.1,), (0.5,), temperature=2.0))
    assert got["working/ece_raw"] == pytest.approx(0.2)
    assert got["working/ece"] == pytest.approx(1 / 3)


def test_the_names_are_known_before_anything_is_scored():
    names = working_names(["a", "b"])
    assert names == list(working_scores([record([(0, HERE)], [(0.9, 0, HERE)])], ["a", "b"], Thresholds.fixed(2)))
    assert len(names) == len(set(names)) == 6 + 2 * 3
    assert set(working_scores([], ["a"], Thresholds.fixed(1)).values()) == {-1.0}
