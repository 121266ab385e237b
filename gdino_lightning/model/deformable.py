"""Deformable attention and the encoder layer around it (Deformable DETR, section 4.1), with fewer copies.

The numbers are those of transformers, whose projections are used. What differs: places are computed in tokens, so that
the offsets of a picture token need no division; on CPUs they are summed as rows, see `sampling`; and nothing is looked
at on the host, for which a GPU had to finish first.

Letters: B pictures, Q queries, S image tokens of all levels, D width of the model, A heads, L levels, P points.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoDeformableLayer,
    GroundingDinoMultiscaleDeformableAttention,
)
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import (
    MMGroundingDinoDeformableLayer,
    MMGroundingDinoMultiscaleDeformableAttention,
)

from gdino_lightning.model.feed_forward import feed_forward
from gdino_lightning.model.sampling import sample_rows


class DeformableAttention(nn.Module):
    """Takes the place of transformers' deformable attention; its projections keep their names.

    Args:
        attention: The one whose projections are used.

    Attributes:
        triton: On CUDA GPUs, sample in a Triton kernel.
    """

    sampling_offsets: nn.Linear
    attention_weights: nn.Linear
    value_proj: nn.Linear
    output_proj: nn.Linear
    attn: nn.Module

    def __init__(
        self, attention: GroundingDinoMultiscaleDeformableAttention | MMGroundingDinoMultiscaleDeformableAttention
    ) -> None:
        super().__init__()
        self.triton = False
        self.n_heads, self.n_levels, self.n_points = attention.n_heads, attention.n_levels, attention.n_points
        for name, child in attention.named_children():
            self.add_module(name, child)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        spatial_shapes_list: Sequence[tuple[int, int]] = (),
        level_start_index: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None]:
        """Look at a few places of every level: (B, Q, D) -> (B, Q, D), and no attention weights.

        Args:
            hidden_states: (B, Q, D) queries.
            attention_mask: (B, S) bool, True on the picture; what is seen elsewhere is 0.
            encoder_hidden_states: (B, S, D) image tokens of all levels.
            encoder_attention_mask: Not used; transformers' layers give it.
            position_embeddings: (B, Q, D), added to the queries.
            reference_points: (B, Q, L, 2) centres or (B, Q, L, 4) boxes, 0 to 1 over a level.
            spatial_shapes: (L, 2) height and width of each level, in tokens.
            spatial_shapes_list: The same on the host.
            level_start_index: (L,) first token of each level.
            output_attentions: Not used.
        """
        queries = hidden_states if position_embeddings is None else hidden_states + position_embeddings
        value = self.value_proj(encoder_hidden_states)
        if attention_mask is not None:
            value = value.masked_fill(~attention_mask[..., None], 0.0)
        value = value.unflatten(2, (self.n_heads, -1))
        by_point = (self.n_levels, self.n_points)
        weights = self.attention_weights(queries).unflatten(2, (self.n_heads, -1)).softmax(-1).unflatten(3, by_point)
        sizes = cast(Tensor, spatial_shapes).flip(-1)
        # a rounded place is another one, so these are float32 at least
        offsets = self.sampling_offsets(queries).unflatten(2, (self.n_heads, *by_point, 2))
        offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
        places = self._places(offsets, cast(Tensor, reference_points), sizes.float())
        if torch.compiler.is_compiling() or (value.device.type != "cpu" and not self.triton):
            locations = (places + 0.5) / sizes[:, None]
            seen = self.attn(value, spatial_shapes, spatial_shapes_list, level_start_index, locations, weights, 64)
        elif value.device.type == "cpu":
            seen = sample_rows(value, places, weights, tuple((int(h), int(w)) for h, w in spatial_shapes_list))
        else:
            from gdino_lightning.model.kernels import sample_fused  # brings triton, which not every machine has

            levels = cast(Tensor, spatial_shapes), cast(Tensor, level_start_index)
            seen = sample_fused(value, places, weights, *levels)
        return self.output_proj(seen), None

    def _places(self, offsets: Tensor, references: Tensor, sizes: Tensor) -> Tensor:
        """Find places in tokens: (B, Q, A, L, P, 2), (B, Q, L, 2 or 4) -> (B, Q, A, L, P, 2)."""
        centres = self._for_points(references[..., :2] * sizes - 0.5)
        flat = offsets.flatten(3)
        if references.shape[-1] == 2:
            return (centres + flat).view_as(offsets)
        reach = self._for_points(references[..., 2:] * sizes * (0.5 / self.n_points))
        return torch.addcmul(centres, flat, reach).view_as(offsets)

    def _for_points(self, pairs: Tensor) -> Tensor:
        """Repeat what levels have for points, so that sums run along memory: (B, Q, L, 2) -> (B, Q, 1, L * P * 2)."""
        return pairs[:, :, None, :, None].expand(-1, -1, -1, -1, self.n_points, -1).flatten(3)


class DeformableLayer(nn.Module):
    """Takes the place of transformers' encoder layer of image tokens; its sub-layers keep their names.

    Args:
        layer: The one whose sub-layers are used.
    """

    self_attn: DeformableAttention
    self_attn_layer_norm: nn.LayerNorm
    fc1: nn.Linear
    fc2: nn.Linear
    activation_fn: nn.Module
    final_layer_norm: nn.LayerNorm

    def __init__(self, layer: GroundingDinoDeformableLayer | MMGroundingDinoDeformableLayer) -> None:
        super().__init__()
        self.dropout, self.activation_dropout = layer.dropout, layer.activation_dropout
        for name, child in layer.named_children():
            self.add_module(name, child)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_embeddings: Tensor, **levels: object
    ) -> tuple[Tensor, None]:
        """Let image tokens look at one another: (B, S, D) -> (B, S, D), and no attention weights.

        Args:
            hidden_states: (B, S, D).
            attention_mask: (B, S) bool, True on the picture.
            position_embeddings: (B, S, D).
            **levels: What else `DeformableAttention` takes.
        """
        attended, _ = self.self_attn(
            hidden_states=hidden_states,
            attention_mask=attention_mask,
            encoder_hidden_states=hidden_states,
            position_embeddings=position_embeddings,
            **levels,
        )
        hidden = self.self_attn_layer_norm(hidden_states + self._dropped(attended, self.dropout))
        drop = self.activation_dropout if self.training else 0.0
        outer = feed_forward(hidden, self.fc1, self.activation_fn, self.fc2, drop=drop, keep_hidden=False)
        return self.final_layer_norm(hidden + self._dropped(outer, self.dropout)), None

    def _dropped(self, hidden: Tensor, rate: float) -> Tensor:
        return F.dropout(hidden, p=rate, training=self.training)
