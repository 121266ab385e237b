"""The attention between image and text of a fusion layer (section 3.1; GLIP, Li et al. 2022, eq. 4), in another order.

Both directions share their scores. Transformers projects every image token to the width of the attention, three times.
But a prompt has few tokens, so the same sums are cheaper with the projections on the text's side: with `x` an image
token and `k` a key, `(Wq x) . k = x . (Wq^T k)`, and so for the values and the output. An image token then costs
3 A T D products in place of 3 D E + 2 E T, and nothing of width E is kept for the backward pass: with the published
sizes (D 256, E 1,024, A 4) and 12 tokens a twentieth, with 256 tokens two thirds.

Letters: B pictures, S image tokens, T text tokens, D width of the model, E width of the attention, A heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoBiMultiHeadAttention
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import MMGroundingDinoBiMultiHeadAttention


class FusionAttention(nn.Module):
    """Takes the place of transformers' attention; its six projections keep their names.

    Args:
        attention: The one whose projections are used.
    """

    vision_proj: nn.Linear
    text_proj: nn.Linear
    values_vision_proj: nn.Linear
    values_text_proj: nn.Linear
    out_vision_proj: nn.Linear
    out_text_proj: nn.Linear

    def __init__(self, attention: GroundingDinoBiMultiHeadAttention | MMGroundingDinoBiMultiHeadAttention) -> None:
        super().__init__()
        self.num_heads, self.scale, self.dropout = attention.num_heads, attention.scale, attention.dropout
        for name, projection in attention.named_children():
            self.add_module(name, projection)

    def forward(
        self,
        vision_features: Tensor,
        text_features: Tensor,
        vision_attention_mask: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Let both look at each other: (B, S, D), (B, T, D) -> the same.

        Each comes with its attention weights, (B, A, S, T) and (B, A, T, S), without a copy.

        Args:
            vision_features: Image tokens.
            text_features: Text tokens.
            vision_attention_mask: (B, S) bool, True on padding.
            text_attention_mask: (B, T) bool, True on padding.
        """
        tokens = text_features.shape[1]
        keys, key_bias = self._keys(text_features)
        scores = torch.baddbmm(key_bias, vision_features, keys.mT).unflatten(2, (self.num_heads, tokens))
        to_text, to_image = scores, scores
        if text_attention_mask is not None:
            to_text = to_text.masked_fill(text_attention_mask[:, None, None, :], float("-inf"))
        if vision_attention_mask is not None:
            to_image = to_image.masked_fill(vision_attention_mask[:, :, None, None], float("-inf"))
        to_text, to_image = to_text.softmax(-1), to_image.softmax(1)
        vision = self._of_text(self._dropped(to_text).flatten(2), text_features)
        text = self._of_image(self._dropped(to_image).flatten(2), vision_features, tokens)
        return (vision, to_text.permute(0, 2, 1, 3)), (text, to_image.permute(0, 2, 3, 1))

    def _keys(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """What image tokens are compared with: (B, A * T, D), and what is added to the scores: (B, 1, A * T)."""
        weight, bias = self._by_head(self.vision_proj)
        keys = self.text_proj(text).unflatten(2, (self.num_heads, -1)) * self.scale
        return (
            torch.einsum("btae,aed->batd", keys, weight).flatten(1, 2),
            torch.einsum("btae,ae->bat", keys, bias).flatten(1)[:, None],
        )

    def _of_text(self, attention: Tensor, text: Tensor) -> Tensor:
        """Sum up what image tokens see in the text: (B, S, A * T), (B, T, D) -> (B, S, D)."""
        weight, bias = matrix_of(self.out_vision_proj)
        values = self.values_text_proj(text).unflatten(2, (self.num_heads, -1))
        seen = torch.einsum("btae,dae->batd", values, weight.unflatten(1, (self.num_heads, -1)))
        return torch.baddbmm(bias, attention, seen.flatten(1, 2))

    def _of_image(self, attention: Tensor, image: Tensor, tokens: int) -> Tensor:
        """Sum up what text tokens see in the image: (B, S, A * T), (B, S, D) -> (B, T, D)."""
        weight, bias = self._by_head(self.values_vision_proj)
        by_head = (self.num_heads, tokens)
        seen = torch.einsum("batd,aed->btae", (attention.mT @ image).unflatten(1, by_head), weight)
        # with dropout the weights of a token do not sum to one
        shares = attention.sum(1).unflatten(1, by_head).mT[..., None]
        text: Tensor = self.out_text_proj((seen + shares * bias).flatten(2))
        return text

    def _by_head(self, projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight (A, E / A, D) and bias (A, E / A) of a projection from the width of the model."""
        weight, bias = matrix_of(projection)
        return weight.unflatten(0, (self.num_heads, -1)), bias.unflatten(0, (self.num_heads, -1))

    def _dropped(self, attention: Tensor) -> Tensor:
        return F.dropout(attention, p=self.dropout, training=self.training)


def matrix_of(projection: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of a linear layer, or of one with adapters: what it does tells what it is."""
    if type(projection) is nn.Linear:
        return projection.weight, projection.bias
    weight = next(projection.parameters())
    origin = weight.new_zeros(1, projection.in_features)
    bias = projection(origin)
    moved = projection(torch.eye(projection.in_features, dtype=weight.dtype, device=weight.device)) - bias
    return moved.T, bias[0]
