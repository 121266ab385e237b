"""Gradients that no optimizer step should be taken with."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gdino_lightning.data.batch import Target
from gdino_lightning.errors import listed

_NAMED = 3  # weights in a message


def check_gradients(parameters: Iterable[tuple[str, nn.Parameter]], pictures: Sequence[str]) -> None:
    """Refuse gradients that are not finite, before they reach a weight; equal on all ranks once they are averaged.

    One reduction and one transfer to the host; names are looked for only where it fails.

    Args:
        parameters: Names and weights, as of `named_parameters`.
        pictures: Those that the gradients are of, for the message.

    Raises:
        FloatingPointError: A gradient is NaN or infinite; it names weights and pictures.
    """
    gradients = {name: weight.grad for name, weight in parameters if weight.grad is not None}
    norm = torch.nn.utils.get_total_norm(gradients.values())
    if not torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm):
        bad = [name for name, gradient in gradients.items() if not _is_finite(gradient)]
        raise FloatingPointError(
            f"the gradient is not finite ({listed(bad, _NAMED) or 'its norm'}); pictures: {'; '.join(pictures)}; lower "
            "model.learning_rate, or look at these pictures and their boxes"
        )


def described(targets: Iterable[Target]) -> str:
    """Name the pictures of a batch, with how many boxes they have."""
    return ", ".join(f"{target.image_path} ({_boxes(len(target.boxes))})" for target in targets)


def _boxes(number: int) -> str:
    return f"{number} box" if number == 1 else f"{number} boxes"


def _is_finite(gradient: Tensor) -> bool:
    local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    return bool(torch.isfinite(local).all())
