"""One encoder layer and one decoder layer, run over the submodules of transformers' layers.

They do what transformers' own `forward` does, so the weights mean the same; running the sub-layers here lets the
paper's ablations leave one out and gives prompts of different lengths their masks.

Letters: B pictures, Q queries, R extra queries, T text tokens, S image tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoDecoderLayer,
    GroundingDinoEncoderLayer,
    GroundingDinoMultiheadAttention,
)
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import (
    MMGroundingDinoDecoderLayer,
    MMGroundingDinoEncoderLayer,
    MMGroundingDinoMultiheadAttention,
)

from gdino_lightning.model.features import ExtraQueries, ImageFeatures, TextFeatures
from gdino_lightning.model.feed_forward import feed_forward

EncoderLayer = GroundingDinoEncoderLayer | MMGroundingDinoEncoderLayer
DecoderLayer = GroundingDinoDecoderLayer | MMGroundingDinoDecoderLayer
Attention = GroundingDinoMultiheadAttention | MMGroundingDinoMultiheadAttention


def encoder_layer(
    layer: EncoderLayer, image: ImageFeatures, text: TextFeatures, references: Tensor, *, fusion: bool
) -> tuple[Tensor, Tensor]:
    """Let image and text look at each other, then each at itself (feature enhancer layer, section 3.1).

    Args:
        layer: A transformers encoder layer.
        image: Image features.
        text: Text features.
        references: (B, S, levels, 2) place of each image token.
        fusion: False leaves out the cross-attention between image and text.

    Returns:
        Image features (B, S, D) and text features (B, T, D).
    """
    vision, words = image.features, text.features
    if fusion:
        (vision, _), (words, _) = layer.fusion_layer(
            vision_features=vision,
            text_features=words,
            attention_mask_vision=~image.mask,
            attention_mask_text=~text.token_mask if text.is_padded else None,
        )
    words, _ = layer.text_enhancer_layer(
        hidden_states=words,
        attention_masks=text.self_attention_mask,
        position_embeddings=layer.get_text_position_embeddings(words, None, text.position_ids),
    )
    vision, _ = layer.deformable_layer(
        hidden_states=vision,
        attention_mask=image.mask,
        position_embeddings=image.positions,
        reference_points=references,
        spatial_shapes=image.spatial_shapes,
        spatial_shapes_list=image.shapes,
        level_start_index=image.level_starts,
    )
    return vision, words


def decoder_layer(
    layer: DecoderLayer,
    hidden: Tensor,
    positions: Tensor,
    references: Tensor,
    image: ImageFeatures,
    text: TextFeatures,
    self_mask: Tensor | None,
    *,
    text_cross_attention: bool,
) -> Tensor:
    """Let queries look at one another, at the text and at the image (cross-modality decoder layer, section 3.3).

    Args:
        layer: A transformers decoder layer.
        hidden: (B, Q, D) queries.
        positions: (B, Q, D) their position embeddings.
        references: (B, Q, levels, 4) their boxes in each level.
        image: Fused image features.
        text: Fused text features.
        self_mask: (B, 1, Q, Q) bool, True where a query may look at another one; None for everywhere.
        text_cross_attention: False leaves that sub-layer out, with its residual norm.

    Returns:
        (B, Q, D) queries.
    """
    queries = hidden + positions
    attended = _attend(layer.self_attn, queries, queries, hidden, self_mask)
    hidden = layer.self_attn_layer_norm(hidden + _dropped(layer, attended))
    if text_cross_attention:
        words = text.features
        attended = _attend(layer.encoder_attn_text, hidden + positions, words, words, _padding_mask(text))
        hidden = layer.encoder_attn_text_layer_norm(hidden + _dropped(layer, attended))
    attended = layer.encoder_attn(
        hidden_states=hidden,
        attention_mask=image.mask,
        encoder_hidden_states=image.features,
        encoder_attention_mask=image.mask,
        position_embeddings=positions,
        reference_points=references,
        spatial_shapes=image.spatial_shapes,
        spatial_shapes_list=image.shapes,
        level_start_index=image.level_starts,
    )[0]
    hidden = layer.encoder_attn_layer_norm(hidden + _dropped(layer, attended))
    drop = layer.activation_dropout if layer.training else 0.0
    outer = feed_forward(hidden, layer.fc1, layer.activation_fn, layer.fc2, drop=drop, keep_hidden=True)
    normed: Tensor = layer.final_layer_norm(hidden + _dropped(layer, outer))
    return normed


def self_attention_mask(num_queries: int, extra: ExtraQueries) -> Tensor:
    """Hide extra queries from the picture's own, and groups of them from one another (DN-DETR, section 4.3).

    Returns:
        (B, 1, Q + R, Q + R) bool, True where a query (row) may look.
    """
    groups = torch.cat([extra.groups.new_full((len(extra.groups), num_queries), -2), extra.groups], dim=1)
    own = (groups == -2)[:, None, :]
    same_group = (groups[:, :, None] == groups[:, None, :]) & (groups >= 0)[:, None, :]
    return (own | same_group)[:, None]


def _attend(attention: Attention, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention over transformers' projections, without the (B, heads, Q, Q) weights that it would keep."""
    heads = (attention.num_attention_heads, attention.attention_head_size)
    projections = ((attention.query, queries), (attention.key, keys), (attention.value, values))
    query, key, value = (projection(each).unflatten(2, heads).transpose(1, 2) for projection, each in projections)
    dropout = attention.dropout.p if attention.training else 0.0
    seen = F.scaled_dot_product_attention(query, key, value, visible, dropout)
    attended: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return attended


def _padding_mask(text: TextFeatures) -> Tensor | None:
    return text.token_mask[:, None, None] if text.is_padded else None


def _dropped(layer: DecoderLayer, hidden: Tensor) -> Tensor:
    return F.dropout(hidden, p=layer.dropout, training=layer.training)
