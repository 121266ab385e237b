import pytest
import torch

from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import PromptBatch, Vocabulary

VOCABULARY = Vocabulary(["cat", "red bear", "red bird", "fish"], nano_tokenizer())


def test_shorter_prompts_are_padded():
    batch = PromptBatch.of([VOCABULARY.prompt([1]), VOCABULARY.prompt([3, 0, 2])])
    assert batch.is_padded
    assert batch.token_mask.sum(1).tolist() == [5, 9]
    assert batch.word_mask.sum(1).tolist() == [2, 4]
    assert batch.classes.tolist() == [[1, -1, -1], [3, 0, 2]]
    assert batch.phrase_map.sum(2).tolist() == [[2, 0, 0], [1, 1, 2]]
    assert not batch.phrase_map[0, :, 5:].any()
    padding = batch.self_attention_mask[0, 5:]
    assert torch.equal(padding, torch.eye(9, dtype=torch.bool)[5:])  # nobody sees padding, padding sees itself
    assert not batch.self_attention_mask[0, :5, 5:].any()


def test_one_prompt_is_shared_without_copies():
    prompt = VOCABULARY.prompt()
    batch = PromptBatch.of([prompt]).expand(64)
    assert batch.phrase_map.shape == (64, 4, len(prompt.input_ids))
    assert batch.phrase_map.stride(0) == 0
    assert PromptBatch.of([prompt] * 3).self_attention_mask.stride(0) == 0
    assert not batch.is_padded


def test_a_number_of_prompts_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 prompts cannot serve 3 pictures"):
        PromptBatch.of([VOCABULARY.prompt([0]), VOCABULARY.prompt([1])]).expand(3)
    with pytest.raises(ValueError, match="at least one"):
        PromptBatch.of([])
