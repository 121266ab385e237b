"""The feed-forward part of a layer, with less kept of its hidden values: they are the largest thing of a step.

At 480x640 px the encoder's are 52 MB for each picture and layer. They, or what the activation makes of them, are
computed again in the backward pass. On a CPU tokens go through some thousand at a time, so that hidden values stay in
the processor's cache: there, memory that is touched for the first time costs as much as the second computation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# at a time, on a CPU: in training, when every piece has a node of the graph, fewer and larger ones are faster
_LEARNING, _LOOKING = 2**21, 2**19


def feed_forward(
    tokens: Tensor, first: nn.Linear, activation: nn.Module, second: nn.Linear, *, drop: float, keep_hidden: bool
) -> Tensor:
    """Transform each token by itself: (..., D) -> (..., D).

    Args:
        tokens: What goes in.
        first: From width D to that of the hidden values; with adapters or without.
        activation: Between the two.
        second: Back to width D.
        drop: Share of activations that are dropped, 0 to 1.
        keep_hidden: Keep what goes into the activation for the backward pass, which is faster; else only `tokens`.
    """

    def from_hidden(hidden: Tensor) -> Tensor:
        transformed: Tensor = second(F.dropout(activation(hidden), p=drop))
        return transformed

    def from_tokens(tokens: Tensor) -> Tensor:
        return from_hidden(first(tokens))

    def lean(tokens: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return from_tokens(tokens)
        again, kept = (from_hidden, first(tokens)) if keep_hidden else (from_tokens, tokens)
        # torch stops where the last tensor that it needs is there again, so `second` is computed once
        transformed: Tensor = checkpoint(again, kept, use_reentrant=False, preserve_rng_state=drop > 0)
        return transformed

    if tokens.device.type != "cpu" or torch.compiler.is_compiling():
        return lean(tokens)
    hidden_values = _LEARNING if torch.is_grad_enabled() else _LOOKING
    pieces = tokens.flatten(0, -2).split(max(1, hidden_values // first.out_features))
    return torch.cat([lean(piece) for piece in pieces]).view_as(tokens)
