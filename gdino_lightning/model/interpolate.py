"""Weights between those that training began with and those it ended with.

Near the end they know the new classes, near the start they still know the old words; in between often both (Wortsman et
al. 2022, "Robust fine-tuning of zero-shot models").
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gdino_lightning.errors import CheckpointError, listed
from gdino_lightning.model.pretrained import STATE_PREFIX


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) * start + alpha * end, weight by weight; what holds whole numbers is taken from `end`.

    Args:
        start: Pretrained weights by name.
        end: Fine-tuned ones of the same model.
        alpha: 0 gives `start`, 1 gives `end`, exactly.

    Raises:
        CheckpointError: The two are not weights of one architecture.
    """
    unlike = {name for name in start.keys() & end.keys() if start[name].shape != end[name].shape}
    unlike |= start.keys() ^ end.keys()
    if unlike:
        raise CheckpointError(
            f"{len(unlike)} weights are absent from one of the two models or have another shape there "
            f"({listed(sorted(unlike), most=5)}): only weights of one architecture can be interpolated"
        )
    return {name: _between(start[name], weight, alpha) for name, weight in end.items()}


def interpolate_checkpoint(checkpoint: Mapping[str, Any], start: Mapping[str, Tensor], alpha: float) -> dict[str, Any]:
    """Return a checkpoint with its detector's weights moved towards `start`; everything else stays.

    Args:
        checkpoint: Of weights alone, as `read_checkpoint` returns it; it stays as it is.
        start: Weights of the transformers model that training began with.
        alpha: 0 gives those of `start`, 1 those of the checkpoint.

    Raises:
        CheckpointError: The two are not weights of one architecture.
    """
    state = checkpoint["state_dict"]
    own = {name.removeprefix(STATE_PREFIX): weight for name, weight in state.items() if name.startswith(STATE_PREFIX)}
    mixed = {f"{STATE_PREFIX}{name}": weight for name, weight in interpolate(start, own, alpha).items()}
    return {**checkpoint, "state_dict": {**state, **mixed}}


def _between(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * start + alpha * end if end.is_floating_point() else end
