"""The MLP of a Swin block, with less kept for the backward pass."""

from torch import Tensor, nn
from transformers.models.swin.modeling_swin import SwinMLP

from gdino_lightning.model.feed_forward import feed_forward


class WindowMLP(nn.Module):
    """Takes the place of transformers' MLP; its layers keep their names.

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
        return feed_forward(hidden_states, self.fc1, self.activation_fn, self.fc2, drop=0.0, keep_hidden=True)
