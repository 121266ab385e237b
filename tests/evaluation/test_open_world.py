"""Zero-shot scores on the drawn world, against values worked out by hand and against pictures asked one at a time."""

import pytest
import torch

from gdino_lightning.data.canvas import normalise_on_canvas
from gdino_lightning.data.world import Phrase, Relation, matches, may_match
from gdino_lightning.errors import PromptError
from gdino_lightning.evaluation.open_world import (
    Answer,
    answer,
    ask_scene,
    quiet_share,
    row_of,
    score_row,
    score_world,
)
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt

HERE, THERE = (10.0, 10.0, 50.0, 50.0), (90.0, 90.0, 140.0, 150.0)


def told(picture, kind, true=(), found=(), colour=None):
    """An answer: true boxes, and (score, box) pairs found."""
    boxes = torch.tensor([box for _, box in found]).reshape(-1, 4)
    detections = Detections(boxes, torch.tensor([score for score, _ in found]), torch.zeros(len(found)).long())
    return Answer(picture, Phrase(kind, colour), torch.tensor(true).reshape(-1, 4), detections, (160, 160))


@pytest.mark.parametrize(
    ("phrase", "row"),
    [
        (Phrase("cup"), "kind"),
        (Phrase("cup", "red"), "attribute"),
        (Phrase("cup", size="small"), "attribute"),
        (Phrase("cup", "red", "striped"), "attribute"),
        (Phrase("cup", relation=Relation("above", "tree")), "relation"),
        (Phrase("cup", "red", relation=Relation("above", "tree", "blue")), "relation"),
    ],
)
def test_phrases_are_sorted_by_what_they_say(phrase, row):
    assert row_of(phrase) == row


def test_what_is_found_rightly_scores_one():
    row = score_row([told(0, "cup", [HERE], [(0.9, HERE)]), told(1, "fish", [THERE], [(0.2, THERE)])])
    assert (row.map_50, row.pooled_50) == (pytest.approx(1), pytest.approx(1))
    assert (row.phrases, row.boxes) == (2, 2)


def test_each_phrase_counts_alike_however_many_boxes_it_has():
    # the cup is found in three pictures, the only fish is not: mean (1 + 0) / 2
    cups = [told(picture, "cup", [HERE], [(0.9, HERE)]) for picture in range(3)]
    row = score_row([*cups, told(3, "fish", [THERE], [(0.9, HERE)])])
    assert row.map_50 == pytest.approx(0.5)
    # pooled: 4 true boxes, ranked hits and one miss of the same score. COCO sorts stably, so the three hits come first:
    # precision 1 up to recall .75 (76 of 101 recall points), 0 beyond
    assert row.pooled_50 == pytest.approx(76 / 101)


def test_a_box_for_an_absent_phrase_lowers_the_pooled_score_alone():
    right = told(0, "cup", [HERE], [(0.5, HERE)])
    wrong = told(0, "tree", [], [(0.8, HERE)])
    row = score_row([right, wrong])
    assert row.map_50 == pytest.approx(1)  # no picture has a tree: there is no category to average
    assert row.pooled_50 == pytest.approx(0.5)  # the one true box comes second: precision 1/2 at every recall


def test_a_phrase_counts_only_where_it_was_asked_for():
    # the fish of picture 1 was not asked for: nothing is missed there
    answers = [told(0, "fish", [THERE], [(0.9, THERE)]), told(1, "cup", [HERE], [(0.9, HERE)])]
    assert score_row(answers).map_50 == pytest.approx(1)
    # asked for and absent, it is a false box of a known phrase, and comes first in its ranking
    answers.append(told(1, "fish", [], [(0.95, HERE)]))
    assert score_row(answers).map_50 == pytest.approx((0.5 + 1) / 2)


def test_a_row_without_true_boxes_has_no_score():
    row = score_row([told(0, "tree", [], [(0.8, HERE)])])
    assert (row.map_50, row.pooled_50, row.phrases, row.boxes) == (-1, -1, 0, 0)


def test_absent_phrases_are_quiet_below_the_threshold():
    answers = [
        told(0, "cup", [HERE], [(0.1, HERE)]),  # not absent
        told(0, "tree", [], [(0.2, HERE), (0.34, THERE)]),
        told(0, "fish", [], [(0.36, HERE)]),
        told(1, "fish", [], []),
    ]
    assert quiet_share(answers, 0.35) == pytest.approx(2 / 3)
    assert quiet_share(answers[:1], 0.35) == 1


def test_all_sorts_of_phrases_are_scored_apart():
    answers = [
        told(0, "cup", [HERE], [(0.9, HERE)]),
        told(0, "cup", [HERE], [(0.9, THERE)], colour="red"),  # elsewhere
        told(0, "fish", [], [(0.4, THERE)], colour="blue"),
        told(0, "tree"),
    ]
    assert score_world(answers, 0.35) == {
        "map_50/kind": pytest.approx(1),
        "map_50/attribute": pytest.approx(0),
        "map_50/relation": -1,
        "pooled_50/kind": pytest.approx(1),
        "pooled_50/attribute": pytest.approx(0),
        "pooled_50/relation": -1,
        "quiet": 0.5,
    }


def test_each_thing_is_asked_for_once_and_absent_phrases_name_nothing():
    for index in range(30):
        question = ask_scene(3, index, "unseen", (128, 160), 20)
        named = [thing for _, things in question.asked for thing in things]
        assert sorted(named) == list(range(len(question.scene.objects)))
        assert sum(not things for _, things in question.asked) == 20
        for phrase, things in question.asked:
            assert matches(phrase, question.scene) == things
            assert may_match(phrase, question.scene) == things


def test_pictures_asked_together_answer_as_alone(detector):
    detector.double()
    tokenizer = nano_tokenizer()
    questions = [ask_scene(3, index, "seen", (96, 128), 4) for index in range(3)]
    answers = list(answer(detector, tokenizer, questions, batch_size=2))
    assert [(each.picture, each.phrase) for each in answers] == [
        (number, phrase) for number, question in enumerate(questions) for phrase, _ in question.asked
    ]
    for number, question in enumerate(questions):
        prompt = build_prompt([phrase.text for phrase, _ in question.asked], tokenizer)
        pixels, mask = normalise_on_canvas(question.scene.image, (128, 96))
        with torch.no_grad():
            (alone,) = Asker(100_000).detect(detector, pixels[None].double(), mask[None], [prompt], [(128, 96)])
        for label, each in enumerate(a for a in answers if a.picture == number):
            mine = alone.select(alone.labels == label)
            assert each.best == pytest.approx(float(mine.scores.max()), rel=1e-5)
            assert len(each.found) == len(mine)
            assert each.truth.tolist() == [
                pytest.approx(question.scene.objects[thing].box_px) for thing in question.asked[label][1]
            ]


def test_phrases_that_do_not_fit_into_a_prompt_are_refused(detector):
    with pytest.raises(PromptError, match="a prompt holds 256"):
        list(answer(detector, nano_tokenizer(), [ask_scene(3, 0, "seen", (96, 96), 120)]))
