import pytest
import torch

from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.answers import Answers
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds

HERE, NEAR, AWAY = [0.0, 0, 100, 100], [0.0, 0, 100, 80], [200.0, 0, 300, 100]  # HERE and NEAR overlap by .8


def answers(calibrated=None) -> Answers:
    found = Detections(
        boxes=torch.tensor([HERE, NEAR, HERE, AWAY, AWAY]),
        scores=torch.tensor([0.9, 0.8, 0.5, 0.4, 0.3]),
        labels=torch.tensor([0, 0, 1, 1, 0]),
        names=("cat", "dog"),
        weakest=torch.tensor([0.9, 0.7, 0.4, 0.1, 0.3]),
    )
    return Answers(found, calibrated)


def kept(**settings) -> list[float]:
    return [round(score, 3) for score in answers().detections(**settings).scores.tolist()]


def test_without_calibration_the_literature_decides():
    # NEAR is suppressed, .4 has a token below .25, .3 is below .35
    assert kept() == [0.9, 0.5]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"box_threshold": 0.3}, [0.9, 0.5, 0.3]),
        ({"text_threshold": 0.0}, [0.9, 0.5, 0.4]),
        ({"text_threshold": 0.5}, [0.9]),
        ({"nms_iou": 0.9}, [0.9, 0.8, 0.5]),
        ({"agnostic_nms": 0.5}, [0.9]),
        ({"box_threshold": 0.0, "text_threshold": 0.0, "agnostic_nms": 0.5}, [0.9, 0.4]),
        ({"box_threshold": 1.0}, []),
    ],
)
def test_each_flag_does_its_part(settings, expected):
    assert kept(**settings) == expected


def test_calibrated_thresholds_count_by_class_and_no_token_is_looked_at():
    calibrated = Thresholds((0.2, 0.45), (0.9, 0.5))
    found = answers(calibrated).detections()
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.5, 0.3])
    assert found.texts() == ["cat", "cat", "dog", "cat"]
    given = answers(calibrated).detections(box_threshold=0.6, nms_iou=0.5, text_threshold=0.0)
    assert given.scores.tolist() == pytest.approx([0.9])


def test_a_weak_token_takes_nothing_else_with_it():
    found = answers().found
    weak_first = Detections(found.boxes, found.scores, found.labels, names=found.names, weakest=found.weakest.flip(0))
    # .8 has a token below .25: it suppresses nothing and is not there
    assert Answers(weak_first).detections().scores.tolist() == pytest.approx([0.9, 0.5, 0.4])


def test_nothing_found_is_a_normal_result():
    nothing = answers().found.select(torch.zeros(0, dtype=torch.int64))
    found = Answers(nothing).detections(agnostic_nms=0.5)
    assert (len(found), found.names, found.texts()) == (0, ("cat", "dog"), [])


@pytest.mark.parametrize("name", ["box_threshold", "text_threshold", "nms_iou", "agnostic_nms"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_thresholds_are_from_0_to_1(name, value):
    with pytest.raises(ConfigError, match=name):
        answers().detections(**{name: value})
