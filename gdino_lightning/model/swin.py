"""The MLP of a Swin block, with less kept for the backward pass."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.swin.modeling_swin import SwinMLP


class WindowMLP(nn.Module):
    """Takes the place of transformers' MLP; keeps what goes into the activation, not what comes out.

    Args:
        mlp: The one whose layers are used; C is its width.
    """

    activation_fn: nn.Module
    fc1: nn.Linear
    fc2: nn.Linear

    def __init__(self, mlp: SwinMLP) -> None:
        super().__init__()
        for name, child in mlp.named_children():
            self.add_module(name, child)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Transform each token: (..., C) -> (..., C)."""
        hidden = self.fc1(hidden_states)
        if not torch.is_grad_enabled():
            return self._from_hidden(hidden)
        # computed again is the activation alone: torch stops where the last tensor that it needs is there
        transformed: Tensor = checkpoint(self._from_hidden, hidden, use_reentrant=False, preserve_rng_state=False)
        return transformed

    def _from_hidden(self, hidden: Tensor) -> Tensor:
        transformed: Tensor = self.fc2(self.activation_fn(hidden))
        return transformed
