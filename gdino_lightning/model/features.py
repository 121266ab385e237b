"""What the stages hand to one another: text features, image features, extra queries and outputs.

Letters: B pictures, Q queries, R extra queries, T text tokens, L decoder layers, S image tokens of all levels, D width.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Words of B prompts, padded to the longest.

    Attributes:
        features: (B, T, D).
        token_mask: (B, T) bool, True on tokens, False on padding.
        self_attention_mask: (B, T, T) bool, True where a token may look at another one.
        position_ids: (B, T) int64, restarting in each block.
        is_padded: True where a prompt is shorter than another one; known on the host, so masks cost nothing without.
    """

    features: Tensor
    token_mask: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor
    is_padded: bool


@dataclass(frozen=True)
class ImageFeatures:
    """Picture tokens, flattened over the feature levels.

    Attributes:
        features: (B, S, D).
        positions: (B, S, D) sine embedding plus level embedding.
        mask: (B, S) bool, True on the picture.
        shapes: Height and width of each level, in tokens.
        spatial_shapes: The same as a (levels, 2) int64 tensor on the device of the features.
        level_starts: (levels,) int64 index of each level's first token.
        valid_ratios: (B, levels, 2) share of each level's width and height that is picture, not padding.
    """

    features: Tensor
    positions: Tensor
    mask: Tensor
    shapes: list[tuple[int, int]]
    spatial_shapes: Tensor
    level_starts: Tensor
    valid_ratios: Tensor


@dataclass(frozen=True)
class ExtraQueries:
    """Queries that the decoder refines beside the picture's own; the picture's own queries never see them.

    An extra query sees the picture's own queries and those of its group. Its content is a weighted mean of the
    fused text features, so it can be about any phrase and needs no table of classes.

    Attributes:
        token_weights: (B, R, T) float, the weights of that mean; they sum to 1 over T (0 for padding).
        boxes: (B, R, 4) cxcywh_norm to start from.
        groups: (B, R) int64 group of each query, -1 for padding.
    """

    token_weights: Tensor
    boxes: Tensor
    groups: Tensor


@dataclass(frozen=True)
class StageOutputs:
    """Logits and boxes of the encoder stage and of every decoder layer, all attached to the graph.

    Attributes:
        logits: (1 + L, B, Q, T) dot products of query and token, the encoder stage first; -inf on padding.
        boxes: (1 + L, B, Q, 4) cxcywh_norm of the picture's own size.
        extra_logits: (L, B, R, T) of the extra queries, if there were any.
        extra_boxes: (L, B, R, 4) cxcywh_norm of the extra queries, if there were any.
    """

    logits: Tensor
    boxes: Tensor
    extra_logits: Tensor | None = None
    extra_boxes: Tensor | None = None

    @property
    def final_logits(self) -> Tensor:
        """(B, Q, T) logits of the last decoder layer."""
        return self.logits[-1]

    @property
    def final_boxes(self) -> Tensor:
        """(B, Q, 4) cxcywh_norm boxes of the last decoder layer."""
        return self.boxes[-1]
