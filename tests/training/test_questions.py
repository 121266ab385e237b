"""Which words a batch is asked about, checked against the tokens themselves."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

from gdino_lightning.data.batch import Batch, Request, Target
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.scenes import SceneDataset
from gdino_lightning.errors import ConfigError, PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Caption, Prompt
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.questions import AskedBatch, Questioner

TOKENIZER = nano_tokenizer()
THINGS = ["cat", "no. 1 part", "red bird", "fish", "without mask", "with mask"]
TEXT = "a man behind two dogs. he has a red hat"
CAPTION = Caption(TEXT, (((0, 5),), ((13, 21),), ((23, 25), (30, 39))))
OWN = ("striped red cup", "small house left of a tree", "blue cup", "large green letter A", "dotted red cup", "boat")


def questioner(negatives: int | None = None, max_tokens: int = 256) -> Questioner:
    return Questioner(THINGS, TOKENIZER, negatives, max_tokens)


def target(
    image_id: int, labels: Sequence[int], caption: Caption | None = None, phrases: tuple[str, ...] | None = None
) -> Target:
    """A picture whose boxes differ from one another and from those of other pictures."""
    boxes = torch.rand(len(labels), 4, generator=torch.Generator().manual_seed(image_id)) * 0.3 + 0.2
    classes = torch.tensor(labels, dtype=torch.int64)
    return Target(image_id, f"p{image_id}.png", 40, 30, boxes, classes, None, caption, phrases)


def batch_of(*targets: Target) -> Batch:
    return Batch(torch.zeros(len(targets), 3, 8, 8), torch.ones(len(targets), 8, 8, dtype=torch.bool), list(targets))


def asked(batch: Batch, by: Questioner, seed: int = 3, epoch: int = 0) -> list[Prompt]:
    (question,) = by.for_training(batch, seed, epoch).questions
    return list(question.prompts.prompts)


def truths_of(batch: AskedBatch, number: int = 0, *, special_tokens_negative: bool = True) -> list[Truth]:
    return batch.questions[number].truths(batch.targets, special_tokens_negative=special_tokens_negative)


def words_of(text: str) -> list[str]:
    return TOKENIZER.encode(text, add_special_tokens=False).tokens


def tokens_of(prompt: Prompt) -> list[str]:
    return [TOKENIZER.id_to_token(index) for index in prompt.input_ids.tolist()]


def named(prompt: Prompt, truth: Truth) -> list[list[str]]:
    """The words that each box of a truth answers to."""
    tokens = tokens_of(prompt)
    return [[tokens[i] for i in row.nonzero().flatten().tolist()] for row in truth.token_map]


def test_a_training_prompt_has_the_classes_of_its_picture_and_as_many_negatives_as_wanted():
    targets = [target(i, labels) for i, labels in enumerate([[2, 2, 5], [0], [1, 3, 4], []])]
    for number, expected in ((2, [4, 3, 5, 2]), (0, [2, 1, 3, 1]), (None, [6, 6, 6, 6])):
        prompts = asked(batch_of(*targets), questioner(negatives=number))
        assert [len(set(prompt.classes)) for prompt in prompts] == expected
        assert [len(prompt.classes) for prompt in prompts] == expected
        assert all(set(t.labels.tolist()) <= set(p.classes) for t, p in zip(targets, prompts, strict=True))


def test_the_boxes_of_a_prompt_that_holds_all_their_classes_are_all_asked_for():
    batch = questioner(negatives=1).for_training(batch_of(target(0, [5, 1, 5, 2]), target(1, [])), 0, 0)
    with_boxes, without = truths_of(batch)
    assert torch.equal(with_boxes.boxes, batch.targets[0].boxes)
    prompt = batch.questions[0].prompts.prompts[0]
    assert named(prompt, with_boxes) == [words_of(THINGS[label]) for label in (5, 1, 5, 2)]
    assert without.boxes.shape == (0, 4)
    assert without.token_map.shape == (0, with_boxes.token_map.shape[1])


def test_within_a_small_budget_the_boxes_of_classes_that_did_not_fit_are_dropped_and_only_those():
    labels = [0, 1, 2, 3, 4, 5, 1, 0]
    batch = questioner(max_tokens=10).for_training(batch_of(*(target(i, labels) for i in range(30))), 0, 0)
    seen: set[int] = set()
    for t, prompt, truth in zip(batch.targets, batch.questions[0].prompts.prompts, truths_of(batch), strict=True):
        assert len(prompt.input_ids) <= 10
        kept = [box for box, label in enumerate(labels) if label in prompt.classes]
        assert 0 < len(kept) < len(labels)
        assert torch.equal(truth.boxes, t.boxes[kept])
        assert named(prompt, truth) == [words_of(THINGS[labels[box]]) for box in kept]
        seen |= set(prompt.classes)
    assert seen == set(range(6))


def test_a_picture_is_asked_the_same_alone_among_others_and_by_another_process():
    targets = [target(i, [i % 6]) for i in range(5)]
    together = [prompt.classes for prompt in asked(batch_of(*targets), questioner(negatives=2))]
    np.random.seed(99)  # what another process would have drawn by then
    torch.manual_seed(99)
    by = questioner(negatives=2)
    backwards = [prompt.classes for prompt in asked(batch_of(*targets[::-1]), by)]
    assert backwards[::-1] == together
    assert [asked(batch_of(each), by)[0].classes for each in targets] == together


def test_draws_differ_between_epochs_seeds_and_pictures():
    same_labels = batch_of(*(target(i, [1]) for i in range(12)))
    by = questioner(negatives=2)
    drawn = [[p.classes for p in asked(same_labels, by, seed, epoch)] for seed, epoch in ((3, 0), (3, 1), (4, 0))]
    assert drawn[0] != drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 4


def test_a_captioned_picture_is_asked_its_caption_beside_pictures_with_classes():
    batch = questioner(negatives=1).for_training(
        batch_of(
            target(0, [3]), target(1, [2, 0, 1], CAPTION), target(2, [1], Caption("a cat", (((2, 5),), ((0, 5),))))
        ),
        0,
        0,
    )
    _, told, short = batch.questions[0].prompts.prompts
    assert told.caption == TEXT
    truths = truths_of(batch)
    assert named(told, truths[1]) == [[*words_of("he"), "a", "red", "hat"], ["a", "man"], words_of("two dogs")]
    assert torch.equal(truths[1].boxes, batch.targets[1].boxes)
    assert named(short, truths[2]) == [["a", "cat"]]
    longest = max(len(prompt.input_ids) for prompt in batch.questions[0].prompts.prompts)
    assert [truth.text_mask.sum() for truth in truths] == [
        len(prompt.input_ids) for prompt in batch.questions[0].prompts.prompts
    ]
    assert {truth.text_mask.shape for truth in truths} == {(longest,)}


def test_an_object_that_a_caption_names_twice_answers_to_both_phrases():
    told = Caption("a man, the man in a red coat, and a dog", (((0, 5),), ((7, 28),), ((34, 39),)))
    twice = target(0, [0, 1, 2, 0], told)
    twice.boxes[1] = twice.boxes[0]
    batch = questioner().for_training(batch_of(twice, target(1, [4, 4])), 0, 0)
    (truth, _), (prompt, _) = truths_of(batch), batch.questions[0].prompts.prompts
    assert torch.equal(truth.boxes, twice.boxes[[0, 2, 3]])
    assert named(prompt, truth) == [["a", "man", *words_of("the man in a red coat")], ["a", "dog"], ["a", "man"]]


def test_two_boxes_at_one_place_stay_two_where_classes_are_asked_for():
    twice = target(0, [4, 5, 4])
    twice.boxes[:] = twice.boxes[0].clone()
    (truth,) = truths_of(questioner().for_training(batch_of(twice), 0, 0))
    assert len(truth.boxes) == 3


@pytest.mark.parametrize("negatives", [None, 0, 3])
def test_a_picture_with_phrases_of_its_own_is_asked_for_all_of_them_and_no_class(negatives):
    batch = questioner(negatives).for_training(batch_of(target(0, [1, 0, 3, 0], phrases=OWN), target(1, [2])), 0, 0)
    own, classes = batch.questions[0].prompts.prompts
    assert sorted(own.phrases) == sorted(OWN)
    assert set(classes.phrases) <= set(THINGS)
    truth, _ = truths_of(batch)
    assert torch.equal(truth.boxes, batch.targets[0].boxes)
    assert named(own, truth) == [words_of(OWN[label]) for label in (1, 0, 3, 0)]


@pytest.mark.parametrize(("negatives", "number"), [(None, 6), (0, 2), (3, 5)])
def test_classes_of_a_further_dataset_are_sampled_as_those_of_the_model(negatives, number):
    by = questioner(negatives)
    by.add_classes(OWN)
    batch = by.for_training(batch_of(target(0, [1, 0, 0], phrases=OWN), target(1, [2])), 0, 0)
    own, classes = batch.questions[0].prompts.prompts
    assert len(own.phrases) == number
    assert {OWN[0], OWN[1]} <= set(own.phrases) <= set(OWN)
    assert set(classes.phrases) <= set(THINGS)
    truth, _ = truths_of(batch)
    assert named(own, truth) == [words_of(OWN[label]) for label in (1, 0, 0)]


def test_classes_of_a_further_dataset_are_checked_before_a_step():
    with pytest.raises(PromptError, match="the same to the tokenizer"):
        questioner().add_classes(("Red cup", "red cup"))
    with pytest.raises(PromptError, match="shorten it"):
        questioner(max_tokens=12).add_classes(("cat " * 12,))


def test_phrases_that_are_true_of_nothing_are_words_that_no_box_answers_to():
    batch = questioner().for_training(batch_of(target(0, [1, 3], phrases=OWN), target(1, [], phrases=OWN)), 0, 0)
    some, none = truths_of(batch)
    tokens = tokens_of(batch.questions[0].prompts.prompts[0])
    answered = [tokens[i] for i in some.token_map.any(dim=0).nonzero().flatten().tolist()]
    assert sorted(answered) == sorted([*words_of(OWN[1]), *words_of(OWN[3])])
    assert some.text_mask.sum() == len(tokens)
    assert none.token_map.shape[0] == 0
    assert none.text_mask.sum() == len(tokens)


def test_phrases_of_their_own_are_shuffled_by_epoch_seed_and_picture_and_by_nothing_else():
    pictures = [target(i, [0, 1], phrases=OWN) for i in range(6)]
    by = questioner()
    drawn = [
        [p.phrases for p in asked(batch_of(*pictures), by, seed, epoch)] for seed, epoch in ((3, 0), (3, 1), (4, 0))
    ]
    assert {tuple(sorted(phrases)) for each in drawn for phrases in each} == {tuple(sorted(OWN))}
    assert len({tuple(each) for each in drawn}) == 3
    assert len(set(drawn[0])) > 3
    np.random.seed(99)  # what another process would have drawn by then
    again = [asked(batch_of(each), questioner(negatives=1))[0].phrases for each in pictures[::-1]]
    assert again[::-1] == drawn[0]


def test_within_a_small_budget_true_phrases_come_first_and_boxes_of_dropped_ones_are_dropped():
    labels = [1, 3, 5, 1]
    most = 2 + sum(len(words_of(f"{OWN[label]} .")) for label in {*labels})  # the true ones fill the prompt
    pictures = batch_of(*(target(i, labels, phrases=OWN) for i in range(20)))
    for max_tokens in (most, most - 1):
        batch = questioner(max_tokens=max_tokens).for_training(pictures, 0, 0)
        for t, prompt, truth in zip(batch.targets, batch.questions[0].prompts.prompts, truths_of(batch), strict=True):
            assert len(prompt.input_ids) <= max_tokens
            kept = [box for box, label in enumerate(labels) if OWN[label] in prompt.phrases]
            assert torch.equal(truth.boxes, t.boxes[kept])
            assert named(prompt, truth) == [words_of(OWN[labels[box]]) for box in kept]
            if max_tokens == most:
                assert set(prompt.phrases) == {OWN[label] for label in labels}
            else:
                assert len({OWN[label] for label in labels} & set(prompt.phrases)) == 2


def test_every_phrase_of_drawn_scenes_fits_into_a_prompt():
    """With more of them than pretraining asks for: nothing is dropped, nothing is unknown to the tokenizer."""
    scenes = SceneDataset("train", 60, seed=1, negatives=20)
    pictures = [scenes.sample(Request(i, 0, Sizing(96, 120, 32), (128, 128))).target for i in range(60)]
    batch = questioner().for_training(batch_of(*pictures), 0, 0)
    for t, prompt, truth in zip(batch.targets, batch.questions[0].prompts.prompts, truths_of(batch), strict=True):
        assert set(prompt.phrases) == set(t.phrases)
        assert "[UNK]" not in tokens_of(prompt)
        assert torch.equal(truth.boxes, t.boxes)
        assert named(prompt, truth) == [words_of(t.phrases[label]) for label in t.labels]


def test_two_phrases_that_are_one_to_the_tokenizer_are_an_error():
    with pytest.raises(PromptError, match="'Red cup' and 'red cup' are the same"):
        questioner().for_training(batch_of(target(0, [0], phrases=("Red cup", "red cup"))), 0, 0)


def test_phrases_of_single_pictures_in_evaluation_are_an_error():
    with pytest.raises(ConfigError, match="phrases of single pictures are for training"):
        questioner().for_evaluation(batch_of(target(0, [0]), target(1, [0], phrases=OWN)))


def test_a_caption_that_is_too_long_is_an_error():
    with pytest.raises(PromptError, match="tokens, a prompt holds 12"):
        questioner(max_tokens=12).for_training(batch_of(target(0, [0], CAPTION)), 0, 0)


def test_evaluation_asks_every_picture_for_all_classes_in_order():
    batch = questioner(negatives=0).for_evaluation(batch_of(target(0, [5, 0]), target(1, [])))
    (question,) = batch.questions
    assert [prompt.classes for prompt in question.prompts.prompts] == [tuple(range(6))] * 2
    assert named(question.prompts.prompts[0], truths_of(batch)[0]) == [["with", "mask"], ["cat"]]


def test_evaluation_in_chunks_asks_for_every_class_and_box_once():
    labels = [5, 0, 4, 4, 2, 1, 3]
    batch = questioner(max_tokens=9).for_evaluation(batch_of(target(0, labels), target(1, [2]), target(2, [])))
    chunks = [question.prompts.prompts[0].classes for question in batch.questions]
    assert len(chunks) >= 3
    assert sorted(index for classes in chunks for index in classes) == list(range(6))
    assert [min(classes) for classes in chunks] == sorted(min(classes) for classes in chunks)
    assert all(list(classes) == sorted(classes) for classes in chunks)
    found: list[tuple[list[float], list[str]]] = []
    for number, question in enumerate(batch.questions):
        assert {prompt.classes for prompt in question.prompts.prompts} == {chunks[number]}
        assert all(len(prompt.input_ids) <= 9 for prompt in question.prompts.prompts)
        truth = truths_of(batch, number)[0]
        found += zip(truth.boxes.tolist(), named(question.prompts.prompts[0], truth), strict=True)
    wanted = zip(batch.targets[0].boxes.tolist(), [words_of(THINGS[label]) for label in labels], strict=True)
    assert sorted(found) == sorted(wanted)
    assert sum(len(truths_of(batch, number)[1].boxes) for number in range(len(chunks))) == 1


def test_a_caption_in_evaluation_is_an_error():
    with pytest.raises(ConfigError, match=r"captions .* of single pictures are for training"):
        questioner().for_evaluation(batch_of(target(0, [0]), target(1, [0], CAPTION)))


def test_special_tokens_count_or_not_and_padding_never_does():
    by = Questioner(["no. 1 part", "cat"], TOKENIZER, None, 256)
    (whole,) = truths_of(by.for_evaluation(batch_of(target(0, [1]))))
    (words,) = truths_of(by.for_evaluation(batch_of(target(0, [1]))), special_tokens_negative=False)
    # [CLS] no . 1 part . cat . [SEP]
    assert whole.text_mask.tolist() == [True] * 9
    assert words.text_mask.tolist() == [False, True, True, True, True, False, True, False, False]
    told = Caption("a cat. a dog", (((2, 5),),))
    mixed = by.for_training(batch_of(target(0, [0], told), target(1, [1])), 0, 0)
    assert truths_of(mixed)[0].text_mask.tolist() == [True] * 8 + [False]
    expected = [False, True, True, False, True, True, False, False, False]  # [CLS] a cat . a dog . [SEP] and padding
    assert truths_of(mixed, special_tokens_negative=False)[0].text_mask.tolist() == expected


def test_an_asked_batch_is_the_batch_with_questions_and_moves_as_one():
    batch = batch_of(target(0, [1]), target(1, [0], CAPTION), target(2, [4], phrases=OWN))
    questions = questioner().for_training(batch, 0, 0)
    assert questions.pixels is batch.pixels
    assert questions.pixel_mask is batch.pixel_mask
    assert questions.targets is batch.targets
    moved = move_data_to_device(questions, torch.device("meta"))
    (question,) = moved.questions
    truths = truths_of(moved)
    tensors = [moved.pixels, moved.pixel_mask, question.prompts.phrase_map, question.prompts.word_mask]
    tensors += [tensor for truth in truths for tensor in (truth.boxes, truth.token_map, truth.text_mask)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert [t.caption for t in moved.targets] == [None, CAPTION, None]
    assert [t.phrases for t in moved.targets] == [None, None, OWN]
    assert truths_of(questions)[1].boxes.device.type == "cpu"
