"""The configuration of a model, read off the shapes of its tensors."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, GroundingDinoConfig, MMGroundingDinoConfig, SwinConfig

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.convert.sizes import Sizes
from gdino_lightning.model.convert.tables import SWIN, TEXT

# What no shape tells. Every published configuration of the official code and of MM-GDINO says the same.
SAMPLING_POINTS = 4
MAX_TEXT_LENGTH = 256
BERT_HEADS = {128: 2, 256: 4, 512: 8, 768: 12, 1024: 16}  # by width: the published BERTs, tiny to large
PRETRAINING_SIDE = {7: 224, 12: 384}  # by window: the side of the pictures that Swin was made with


def infer_config(state: Mapping[str, Tensor], sizes: Sizes) -> GroundingDinoConfig | MMGroundingDinoConfig:
    """Describe the model that has these tensors.

    Args:
        state: Tensors by transformers' names; only their shapes are read, and whether heads are copies of one.
        sizes: Its counts of layers.

    Raises:
        CheckpointError: If shapes contradict one another or a number cannot be told from them.
    """
    width = state["model.level_embed"].shape[-1]
    config_class = MMGroundingDinoConfig if sizes.class_bias else GroundingDinoConfig
    shared: dict[str, Any] = {"decoder_bbox_embed_share": _one_head(state, "bbox_embed", sizes)}
    if sizes.class_bias:
        shared["decoder_cls_embed_share"] = _one_head(state, "class_embed", sizes)
    encoder, decoder = "model.encoder.layers.0.deformable_layer", "model.decoder.layers.0"
    return config_class(
        backbone_config=_swin(state, sizes),
        text_config=_bert(state, sizes),
        d_model=width,
        num_queries=len(state["model.query_position_embeddings.weight"]),
        num_feature_levels=sizes.levels,
        encoder_layers=sizes.encoder_layers,
        decoder_layers=sizes.decoder_layers,
        encoder_ffn_dim=len(state[f"{encoder}.fc1.weight"]),
        decoder_ffn_dim=len(state[f"{decoder}.fc1.weight"]),
        encoder_attention_heads=_sampling_heads(state, f"{encoder}.self_attn", sizes.levels),
        decoder_attention_heads=_sampling_heads(state, f"{decoder}.encoder_attn", sizes.levels),
        encoder_n_points=SAMPLING_POINTS,
        decoder_n_points=SAMPLING_POINTS,
        max_text_len=MAX_TEXT_LENGTH,
        dropout=0.0,  # what both programs train with; transformers' default is 0.1
        **shared,
    )


def _swin(state: Mapping[str, Tensor], sizes: Sizes) -> SwinConfig:
    blocks = f"{SWIN}.encoder.layers"
    patch = state[f"{SWIN}.embeddings.patch_embeddings.projection.weight"]
    tables = [
        state[f"{blocks}.{stage}.blocks.0.attention.relative_position_bias.relative_position_bias_table"]
        for stage in range(len(sizes.blocks))
    ]
    side = math.isqrt(len(tables[0]))
    if side**2 != len(tables[0]) or side % 2 == 0:
        raise CheckpointError(f"Swin's position table has {len(tables[0])} rows, which no square window gives")
    window = (side + 1) // 2
    hidden = len(state[f"{blocks}.0.blocks.0.mlp.fc1.weight"])
    return SwinConfig(  # type: ignore[call-arg]  # out_indices is a property there, and accepted
        image_size=PRETRAINING_SIDE.get(window, 224),
        patch_size=patch.shape[-1],
        embed_dim=len(patch),
        depths=list(sizes.blocks),
        num_heads=[table.shape[-1] for table in tables],
        window_size=window,
        mlp_ratio=hidden / len(patch),
        drop_path_rate=0.2,  # as both programs train
        out_indices=list(sizes.stages),
    )


def _bert(state: Mapping[str, Tensor], sizes: Sizes) -> BertConfig:
    words = state[f"{TEXT}.embeddings.word_embeddings.weight"]
    width = words.shape[-1]
    if width not in BERT_HEADS:
        raise CheckpointError(
            f"the text encoder is {width} wide and no shape tells its number of attention heads "
            f"(known widths: {', '.join(map(str, BERT_HEADS))}); give the Hugging Face folder of these weights"
        )
    return BertConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=BERT_HEADS[width],
        intermediate_size=len(state[f"{TEXT}.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(state[f"{TEXT}.embeddings.position_embeddings.weight"]),
        type_vocab_size=len(state[f"{TEXT}.embeddings.token_type_embeddings.weight"]),
    )


def _sampling_heads(state: Mapping[str, Tensor], attention: str, levels: int) -> int:
    """Tell the heads of a deformable attention: it weighs every point on every level for each head."""
    weighed = len(state[f"{attention}.attention_weights.bias"])
    heads, rest = divmod(weighed, levels * SAMPLING_POINTS)
    if rest or not heads:
        raise CheckpointError(
            f"{weighed} attention weights are no multiple of {levels} levels x {SAMPLING_POINTS} points"
        )
    return heads


def _one_head(state: Mapping[str, Tensor], name: str, sizes: Sizes) -> bool:
    """Tell whether all decoder layers have the same head."""
    first = {key: tensor for key, tensor in state.items() if key.startswith(f"{name}.0.")}
    return all(
        torch.equal(tensor, state[key.replace(".0.", f".{layer}.", 1)])
        for layer in range(1, sizes.decoder_layers)
        for key, tensor in first.items()
    )
