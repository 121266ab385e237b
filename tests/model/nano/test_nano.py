import pytest
import torch

from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import NUM_ENGLISH, vocabulary


def test_the_miniature_is_small_and_its_weights_follow_from_the_seed():
    state = torch.get_rng_state()
    first, same, other = random_nano(3), random_nano(3), random_nano(4)
    assert torch.equal(torch.get_rng_state(), state)
    assert 1e6 <= sum(p.numel() for p in first.parameters()) <= 2e6
    pairs = list(zip(first.parameters(), same.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.model.level_embed, other.model.level_embed)


def test_before_training_hardly_any_query_claims_a_word(prompt):
    """With transformers' own initial weights about half of all pairs would: dot products are symmetric round 0."""
    detector = GroundingDetector(random_nano()).eval()
    pixels = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = detector(pixels, torch.ones(2, 96, 128, dtype=torch.bool), prompt)
    assert outputs.logits[1:].sigmoid().mean() < 0.1
    assert (outputs.logits[1:] > 0).float().mean() < 0.05


def test_queries_know_their_place_before_training(prompt):
    """The position of a query is not silenced by a zeroed layer."""
    head = random_nano().model.decoder.reference_points_head
    assert head.layers[-1].weight.abs().max() > 0.01


def test_letters_of_other_scripts_are_drawn_after_everything_else():
    rows = random_nano(seed=4).model.text_backbone.embeddings.word_embeddings.weight
    assert rows.shape == (len(vocabulary()), 64)
    assert not rows[0].any()  # padding
    assert rows[NUM_ENGLISH:].std().item() == pytest.approx(0.02, rel=0.05)
    english = [index for piece, index in vocabulary().items() if piece.isascii() and "unused" not in piece]
    assert max(english) < NUM_ENGLISH
