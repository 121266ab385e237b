"""Text is encoded once: calls are counted, and what is remembered equals what is encoded anew."""

import copy

import pytest
import torch
from pictures import relative_error

from gdino_lightning.model import text
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import PromptBatch, Vocabulary

ANIMALS = Vocabulary(["cat", "St. Bernard", "red bird", "fish", "without mask", "with mask"], nano_tokenizer())


class Counted:
    """A detector whose text encoder's calls are counted: rows of each call."""

    def __init__(self, *, frozen: bool, **switches: bool) -> None:
        self.detector = GroundingDetector(random_nano(seed=1), Switches(**switches)).train()
        self.backbone = self.detector.model.model.text_backbone
        if frozen:
            self.backbone.requires_grad_(False).eval()
        self.rows: list[int] = []
        self.backbone.register_forward_pre_hook(lambda _, inputs: self.rows.append(len(inputs[0])))

    def encode(self, *prompts: list[int]) -> torch.Tensor:
        return self.detector.encode_text(PromptBatch.of([ANIMALS.prompt(classes) for classes in prompts])).features


def test_a_batch_of_many_prompts_takes_one_call_for_its_distinct_blocks():
    counted = Counted(frozen=False)
    features = counted.encode([0, 1, 2], [2, 1], [5, 2])
    assert counted.rows == [6]  # cat, St. Bernard, red bird, with mask, [CLS] and [SEP]
    features.sum().backward()
    assert all(p.grad is not None for name, p in counted.backbone.named_parameters() if "pooler" not in name)


def test_a_frozen_encoder_sees_each_block_once_in_a_run():
    counted = Counted(frozen=True)
    first = counted.encode([0, 1], [2, 1])
    counted.detector.eval()
    with torch.inference_mode():
        again = counted.encode([0, 1], [2, 1])
    counted.detector.train()
    counted.backbone.eval()
    assert counted.rows == [5]
    assert torch.equal(first, again)
    counted.encode([1, 3, 4, 0])  # a changed prompt: its two new phrases only
    assert counted.rows == [5, 2]


def test_what_inference_remembers_can_be_trained_on():
    counted = Counted(frozen=True)
    with torch.inference_mode():
        counted.encode([0, 1])
    counted.encode([0, 1]).sum().backward()
    assert counted.rows == [4]
    assert counted.detector.model.model.text_projection.weight.grad.abs().sum() > 0


def test_a_learning_encoder_is_asked_once_in_an_evaluation_and_anew_after_training():
    counted = Counted(frozen=False)
    counted.detector.eval()
    with torch.no_grad():
        first = counted.encode([0, 1])
        counted.encode([0, 1])
        assert counted.rows == [4]
        counted.detector.train()
        for parameter in counted.backbone.parameters():
            parameter.add_(0.1)
        counted.detector.eval()
        assert not torch.equal(counted.encode([0, 1]), first)
    assert counted.rows == [4, 4]


def test_new_weights_and_another_precision_are_encoded_anew():
    counted = Counted(frozen=True)
    before = counted.encode([0])
    counted.detector.load_state_dict(GroundingDetector(random_nano(seed=2)).state_dict())
    assert not torch.equal(counted.encode([0]), before)
    with torch.autocast("cpu", torch.bfloat16):
        counted.encode([0])
    with torch.no_grad():
        next(counted.backbone.parameters()).add_(1)
    counted.encode([0])
    assert counted.rows == [3, 3, 3, 3]


def test_a_copy_remembers_for_itself():
    counted = Counted(frozen=True)
    before = counted.encode([0])
    copied = copy.deepcopy(counted.detector)
    with torch.no_grad():
        copied.model.model.text_backbone.embeddings.word_embeddings.weight.add_(1)
    prompts = PromptBatch.of([ANIMALS.prompt([0])])
    assert not torch.equal(copied.encode_text(prompts).features, before)
    assert torch.equal(counted.encode([0]), before)


@pytest.mark.parametrize("sub_sentence", [True, False])
def test_remembered_and_padded_text_equals_transformers_text_encoder_one_prompt_at_a_time(sub_sentence):
    counted = Counted(frozen=True, sub_sentence=sub_sentence)
    prompts = [[0, 1, 4], [4], [5, 3]]
    counted.encode([4, 2])
    together = counted.encode(*prompts)
    core = counted.detector.model.model
    for b, classes in enumerate(prompts):
        prompt = ANIMALS.prompt(classes)
        asked = prompt if sub_sentence else prompt.as_one_block()
        hidden = core.text_backbone(
            asked.input_ids[None],
            asked.self_attention_mask[None, None],
            torch.zeros_like(asked.input_ids)[None],
            asked.position_ids[None],
        ).last_hidden_state
        length = len(prompt.input_ids)
        assert relative_error(together[b, :length], core.text_projection(hidden)[0]) <= 1e-5
        assert not together[b, length:].any()


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(text, "CACHE_SIZE", 3)
    counted = Counted(frozen=True)
    counted.encode([0, 1, 2, 3])
    counted.encode([3])  # the newest are kept: fish and [SEP]; [CLS] was the oldest
    assert counted.rows == [6, 1]


def test_weights_swapped_behind_autograd_between_training_and_evaluation_are_seen():
    """As the moving average of Lightning's EMA callback does for a learning encoder."""
    counted = Counted(frozen=False)
    with torch.no_grad():
        counted.detector.eval()
        before = counted.encode([0, 1])
        counted.detector.train()
        for parameter in counted.backbone.parameters():
            parameter.data.copy_(parameter.data + 0.1)
        counted.detector.eval()
        assert not torch.equal(counted.encode([0, 1]), before)


def test_what_is_remembered_holds_no_padding():
    counted = Counted(frozen=True)
    counted.encode([0, 1])  # one and eight word pieces
    sizes = {
        len(block): features.untyped_storage().size() for block, features in counted.detector._blocks._cache.items()
    }
    assert all(size == 4 * length * 64 for length, size in sizes.items())


def test_a_mode_that_stays_forgets_nothing():
    """Prediction asks for evaluation mode again with every batch."""
    counted = Counted(frozen=False)
    with torch.no_grad():
        for _ in range(3):
            counted.detector.eval()
            counted.encode([0, 1])
    assert counted.rows == [4]
