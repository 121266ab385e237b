"""Wordings compared: by hand-made records, by faster-coco-eval, and by asking each question alone."""

import numpy as np
import pytest
import torch
from hand_made_records import record
from pictures import pictures

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.wordings import ask_pictures, compare_wordings
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Vocabulary

CAT, DOG = 0, 1
HERE, THERE, AWAY = (0, 0, 40, 40), (50, 50, 90, 90), (200, 200, 240, 240)
BOTH = [(CAT, HERE), (CAT, THERE), (DOG, AWAY)]
DOGS = [(0.99, DOG, HERE), (0.98, DOG, AWAY)]  # of no concern to the cats


def answers(*cats):
    """Ten pictures of two cats and a dog, in each of which these cats were found."""
    return [record(BOTH, [*((score, CAT, box) for score, box in cats), *DOGS], number) for number in range(10)]


def ap_of_cats(records) -> float:
    metric = CocoMeanAveragePrecision(["cat", "dog"])
    for each in records:
        boxes = torch.from_numpy(each.truth_boxes)
        target = Target(each.image_id, "", 300, 300, boxes, torch.from_numpy(each.truth_labels), boxes)
        found = Detections(*(torch.from_numpy(array.copy()) for array in (each.boxes, each.scores, each.labels)))
        metric.update([found], [target])
    return float(metric.compute()["map/cat"])


def test_the_wording_with_the_highest_ap_is_chosen_and_the_others_are_as_far_behind_as_coco_says():
    found = [answers((0.9, HERE)), answers((0.5, HERE), (0.4, THERE)), answers((0.9, AWAY), (0.8, HERE))]
    rows = compare_wordings(found, CAT)
    scores = [ap_of_cats(records) for records in found]
    assert scores[1] == pytest.approx(1)
    assert [row.score.map.value for row in rows] == pytest.approx(scores)
    assert [row.less is None for row in rows] == [False, True, False]
    assert rows[0].less.value == pytest.approx(1 - scores[0])
    assert rows[1].verdict == "chosen"
    assert rows[0].verdict == f"{1 - scores[0]:.3f} less [{1 - scores[0]:.3f}, {1 - scores[0]:.3f}]"  # in all pictures


def test_of_equally_good_wordings_the_first_is_chosen():
    rows = compare_wordings([answers(), answers((0.9, HERE)), answers((0.3, HERE))], CAT)
    assert [row.verdict == "chosen" for row in rows] == [False, True, False]
    assert rows[2].verdict == "0.000 less [0.000, 0.000]: within noise"


def test_a_difference_that_one_picture_makes_is_noise():
    one, other = answers((0.9, HERE), (0.8, THERE)), answers((0.9, HERE), (0.8, THERE))
    other[3] = record(BOTH, [(0.9, CAT, HERE), *DOGS], 3)
    rows = compare_wordings([other, one], CAT)
    assert rows[1].verdict == "chosen"
    assert rows[0].less.low == 0  # a third of the resamples has not that picture
    assert rows[0].verdict.endswith("within noise")


def test_without_a_box_of_the_class_the_first_wording_stays():
    pictures_of_dogs = [[record([(DOG, AWAY)], [(score, CAT, HERE)])] for score in (0.1, 0.9)]
    rows = compare_wordings(pictures_of_dogs, CAT)
    assert [row.less is None for row in rows] == [True, False]
    assert [row.verdict for row in rows] == ["no box to score it by: the first stays", "no box to score it by"]


def test_all_questions_are_answered_as_if_each_were_asked_alone_with_every_picture_encoded_once(detector, monkeypatch):
    pixels, mask = pictures()
    sizes = [(128, 96), (100, 70)]
    targets = [
        Target(number, f"{number}.png", *size, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
        for number, size in enumerate(sizes)
    ]
    encoded = []
    encode = detector.encode_image
    monkeypatch.setattr(detector, "encode_image", lambda *given: encoded.append(1) or encode(*given))
    things = Vocabulary(["cat", "red bird", "a fish"], nano_tokenizer())
    questions = [[things.prompt([0, 1, 2])], [things.prompt([2]), things.prompt([1, 0])], [things.prompt([1])]]
    asker = Asker(top_k=20)
    found = ask_pictures(detector, asker, [Batch(pixels, mask, targets)], questions, ["cat", "bird", "fish"])
    assert len(encoded) == 1
    for records, prompts in zip(found, questions, strict=True):
        with torch.no_grad():
            alone = asker.detect(detector, pixels, mask, prompts, sizes)
        for one, wanted in zip(records, alone, strict=True):
            np.testing.assert_array_equal(one.boxes, wanted.boxes.numpy())
            np.testing.assert_array_equal(one.scores, wanted.scores.numpy())
            np.testing.assert_array_equal(one.labels, wanted.labels.numpy())
