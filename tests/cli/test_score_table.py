"""What `test` and `validate` print of their scores."""

import pytest

from gdino_lightning.cli.score_table import MOST_CLASSES, score_table

OVERALL = {"map": 0.4126, "map_50": 0.7, "map_75": 0.3, "map_small": -1.0, "map_medium": 0.25, "map_large": 0.5}


def logged(**classes: tuple[float, ...]) -> dict[str, float]:
    keys = ("map", "working/precision", "working/recall", "working/f1", "over/boxes_per_object")
    all_classes = dict(zip(keys[1:], (0.9, 0.8, 0.85, 1.25), strict=True)) | OVERALL
    by_class = {f"{key}/{name}": v for name, values in classes.items() for key, v in zip(keys, values, strict=True)}
    return {f"test/{key}": value for key, value in (all_classes | by_class).items()}


def test_the_table_has_a_line_for_each_class_and_leaves_undefined_values_out():
    scores = logged(a_class_with_quite_a_long_name=(0.5, 1, 0.5, 2 / 3, 0.5), b=(-1, 0, -1, 0, -1))
    assert score_table(scores, "test", ["a_class_with_quite_a_long_name", "b"], calibrated=True).splitlines() == [
        "test: mAP 0.413, mAP50 0.700, mAP75 0.300, medium 0.250, large 0.500",
        "| class | mAP | precision | recall | F1 | boxes/object |",
        "|---|---|---|---|---|---|",
        "| all | 0.413 | 0.900 | 0.800 | 0.850 | 1.250 |",
        "| a_class_with_quite_a_long_name | 0.500 | 1.000 | 0.500 | 0.667 | 0.500 |",
        "| b | - | 0.000 | - | 0.000 | - |",
        "precision to boxes/object are those at the calibrated thresholds",
    ]


def test_thresholds_that_were_not_calibrated_are_named():
    last = score_table(logged(a=(1, 1, 1, 1, 1)), "test", ["a"], calibrated=False).splitlines()[-1]
    assert last.endswith("at the fixed thresholds, score 0.35 and NMS IoU 0.5")


@pytest.mark.parametrize("more", [0, 3])
def test_of_very_many_classes_the_first_are_shown(more):
    names = [f"c{number}" for number in range(MOST_CLASSES + more)]
    lines = score_table(logged(**dict.fromkeys(names, (1, 1, 1, 1, 1))), "test", names, calibrated=True).splitlines()
    assert sum(line.startswith("| c") for line in lines) == MOST_CLASSES + 1
    assert ("... and 3 classes more" in lines) == bool(more)


def test_a_split_without_boxes_has_no_score():
    empty = {key: -1.0 for key in logged()}
    lines = score_table(empty, "test", [], calibrated=False).splitlines()
    assert (lines[0], lines[3]) == ("test: no box to score by", "| all | - | - | - | - | - |")
