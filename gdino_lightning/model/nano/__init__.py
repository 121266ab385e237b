"""The miniature: Grounding DINO's architecture at under two million parameters, for tests, demos and CPUs."""

import math

import torch
from torch import nn
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from gdino_lightning.model.nano.tokenizer import NUM_ENGLISH, PAD_ID, vocabulary

WIDTH = 64  # transformers normalises in 32 groups, so the width is a multiple of 32
MAX_TOKENS = 256
PRIOR = 0.01  # probability that a query names a word, before training
SPREAD = 0.25  # size of a text feature's entries, before training


def nano_config(vocab_size: int | None = None) -> GroundingDinoConfig:
    """Describe the miniature: four-stage Swin, two text layers, two encoder and three decoder layers.

    Args:
        vocab_size: Rows of the word embeddings; those of the whole vocabulary by default.
    """
    backbone = SwinConfig(  # type: ignore[call-arg]  # out_indices is a property there, and accepted
        embed_dim=24,
        depths=[2, 2, 2, 1],
        num_heads=[2, 4, 4, 8],
        window_size=4,
        drop_path_rate=0.0,
        out_indices=[2, 3, 4],
    )
    text = BertConfig(
        vocab_size=vocab_size or len(vocabulary()),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=PAD_ID,
    )
    return GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=WIDTH,
        num_queries=100,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_text_len=MAX_TOKENS,
        dropout=0.0,
        fusion_droppath=0.0,
    )


def random_nano(seed: int = 0) -> GroundingDinoForObjectDetection:
    """Build the miniature with weights drawn from `seed`, leaving the caller's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GroundingDinoForObjectDetection(nano_config(NUM_ENGLISH))
        _draw_weights(model)
        _add_other_scripts(model, len(vocabulary()))
        return model


@torch.no_grad()
def _add_other_scripts(model: GroundingDinoForObjectDetection, size: int) -> None:
    """Draw the rows of further letters last, so that another script in the vocabulary changes no other weight."""
    text = model.model.text_backbone  # its configuration is that of the model's text, too
    english = text.embeddings.word_embeddings.weight
    rows = torch.randn(size - len(english), WIDTH) * text.config.initializer_range
    text.embeddings.word_embeddings = nn.Embedding(size, WIDTH, PAD_ID, _weight=torch.cat([english, rows]))
    text.config.vocab_size = size


@torch.no_grad()
def _draw_weights(model: GroundingDinoForObjectDetection) -> None:
    """Start where training from nothing can start; trained weights need none of this."""
    core = model.model
    # transformers zeroes the last layer of every such head. That is right for box refinement, which starts from the
    # proposal; this one would tell no query where it is until the layer has grown.
    nn.init.xavier_uniform_(core.decoder.reference_points_head.layers[-1].weight)
    # Dot products of normalised vectors spread over +-sqrt(width) and there is no bias, so a query would claim about
    # every second word. The norms' biases give each pair the prior probability instead (Lin et al. 2017, section 3.3).
    share = math.sqrt(math.log((1 - PRIOR) / PRIOR) / WIDTH)
    words = core.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    words.weight.fill_(SPREAD)
    words.bias.fill_(-share)
    for queries in (core.enc_output_norm, core.decoder.layer_norm):
        queries.bias.fill_(share)
