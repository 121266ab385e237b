import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdino_lightning.errors import PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Vocabulary, build_prompt

TOKENIZER = nano_tokenizer()
ANIMALS = ["cat", "dog", "red bear", "fish", "red bird", "St. Bernard", "horse", "goat"]


def numbered(count):
    """Names of LVIS's kind and number: one to three words."""
    kinds = ["mask", "face mask", "worn face mask", "dog", "red bear", "fish"]
    return [f"{kinds[i % len(kinds)]} {i}" for i in range(count)]


@pytest.mark.parametrize(
    ("phrases", "named"),
    [
        (["mask", ""], "no word of ''"),
        (["mask", "\u200b"], "no word of '\\u200b'"),
        (["mask", "日本"], "no word of '日本'"),
        (["Mask", "dog", "mask"], "'Mask' and 'mask' are the same"),
        (["cafe", "café"], "'cafe' and 'café' are the same"),
        (["what?", "what ?"], "'what?' and 'what ?' are the same"),
        (["red 日", "red 本"], "'red 日' and 'red 本' are the same"),
        (["a [SEP] b"], "holds [SEP]"),
    ],
)
def test_phrases_that_cannot_work_are_named(phrases, named):
    tokenizer = nano_tokenizer()
    tokenizer.add_special_tokens(["[SEP]"])  # as tokenizers that transformers loads have it
    with pytest.raises(PromptError, match=re.escape(named)):
        Vocabulary(phrases, tokenizer)


def test_a_prompt_of_some_classes_is_that_of_their_phrases():
    some = Vocabulary(ANIMALS, TOKENIZER).prompt([5, 0, 2])
    alone = build_prompt(["St. Bernard", "cat", "red bear"], TOKENIZER)
    assert some.classes == (5, 0, 2)
    assert some.blocks == alone.blocks
    assert some.caption == alone.caption == "St. Bernard . cat . red bear ."
    assert torch.equal(some.phrase_map, alone.phrase_map)


def test_too_many_tokens_for_one_prompt_and_a_phrase_too_long():
    with pytest.raises(PromptError, match="8 tokens, a prompt holds 7"):
        build_prompt(["with mask", "no mask"], TOKENIZER, max_tokens=7)
    assert len(build_prompt(["with mask", "no mask"], TOKENIZER, max_tokens=8).input_ids) == 8
    with pytest.raises(PromptError, match="'red bear' needs 5 tokens, a prompt holds 4"):
        Vocabulary(["cat", "red bear"], TOKENIZER).chunks(4)


def test_1203_names_are_packed_into_the_fewest_chunks():
    vocabulary = Vocabulary(numbered(1203), TOKENIZER)
    chunks = vocabulary.chunks(256)
    words = vocabulary.num_tokens() - 2
    assert len(chunks) == math.ceil(words / 254)
    assert max(len(chunk.input_ids) for chunk in chunks) <= 256
    assert sorted(index for chunk in chunks for index in chunk.classes) == list(range(1203))
    assert all(list(chunk.classes) == sorted(chunk.classes) for chunk in chunks)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(17, 40))
@settings(max_examples=60, deadline=None)
def test_chunks_hold_every_class_once_and_are_never_half_empty_twice(lengths, max_tokens):
    phrases = [" ".join(["mask"] * length + [str(i)]) for i, length in enumerate(lengths)]
    vocabulary = Vocabulary(phrases, TOKENIZER)
    chunks = vocabulary.chunks(max_tokens)
    assert sorted(index for chunk in chunks for index in chunk.classes) == list(range(len(lengths)))
    sizes = sorted(vocabulary.num_tokens(chunk.classes) for chunk in chunks)
    assert sizes[-1] <= max_tokens
    if len(sizes) > 1:  # the two emptiest would not fit into one
        assert sizes[0] + sizes[1] - 2 > max_tokens


def test_classes_that_fit_stay_in_order_in_one_chunk():
    (chunk,) = Vocabulary(ANIMALS, TOKENIZER).chunks(256)
    assert chunk.classes == tuple(range(8))


def draws(vocabulary, present, negatives, max_tokens, count=200):
    return [vocabulary.sample(present, negatives, max_tokens, np.random.default_rng(i)) for i in range(count)]


def test_a_training_prompt_holds_the_present_classes_and_as_many_absent_ones_as_wanted():
    prompts = draws(Vocabulary(ANIMALS, TOKENIZER), [1, 4, 1], 3, 256)
    assert all({1, 4} <= set(prompt.classes) and len(prompt.classes) == 5 for prompt in prompts)
    seen = [index for prompt in prompts for index in prompt.classes]
    absent = [seen.count(index) for index in (0, 2, 3, 5, 6, 7)]
    assert min(absent) > 60  # 100 of 200 expected: none is left out
    assert max(absent) < 140
    assert len({prompt.classes.index(1) for prompt in prompts}) == 5  # shuffled: every place occurs


def test_without_a_number_all_absent_classes_that_fit_are_negatives():
    vocabulary = Vocabulary(ANIMALS, TOKENIZER)
    assert all(sorted(prompt.classes) == list(range(8)) for prompt in draws(vocabulary, [2], None, 256, 20))
    for prompt in draws(vocabulary, [2], None, 10, 50):
        assert 2 in prompt.classes
        assert vocabulary.num_tokens(prompt.classes) <= 10
        left = [index for index in range(8) if index not in prompt.classes]
        assert all(vocabulary.num_tokens([*prompt.classes, index]) > 10 for index in left)


def test_present_classes_that_do_not_fit_are_drawn_from():
    prompts = draws(Vocabulary(ANIMALS, TOKENIZER), range(8), 0, 12)
    assert all(len(prompt.input_ids) <= 12 for prompt in prompts)
    assert {index for prompt in prompts for index in prompt.classes} == set(range(8))


def test_a_picture_without_objects_is_asked_for_at_least_one_class():
    assert all(len(prompt.classes) == 1 for prompt in draws(Vocabulary(ANIMALS, TOKENIZER), [], 0, 256, 5))


def test_the_same_seed_draws_the_same_prompt():
    vocabulary = Vocabulary(ANIMALS, TOKENIZER)
    first, second = (vocabulary.sample([3], 4, 256, np.random.default_rng((7, 1, 2))) for _ in range(2))
    assert first.classes == second.classes
