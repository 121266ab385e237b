"""Exponential moving average of the weights: what validation scores, and what is kept."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gdino_lightning.errors import ConfigError


class RampedEMA(WeightAveraging):
    """Averages the weights after every optimizer step; validation and checkpoints use the average.

    The first step is taken as it is. Each later one, with n steps before it, keeps `min(decay, (1 + n) / (10 + n))` of
    the average: with the decay alone, a run of few steps would end near the weights that it began with. `last.ckpt`
    holds the weights in training, too, and resumes to the bit.

    Args:
        decay: Share of the average that late steps keep, from 0 to below 1.
        device: Where the average is; by default where the model is. `cpu` saves as much GPU memory as the weights take.

    Raises:
        ConfigError: If the decay is out of range.
    """

    def __init__(self, decay: float = 0.999, device: str | None = None) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"RampedEMA: decay is {decay}: it must be 0 or more and below 1")
        # buffers are copied: an average would round the indices among them
        super().__init__(device=device, use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay

    def averaged_state(self) -> dict[str, Tensor] | None:
        """State dict of the module with averaged weights; None before a fit."""
        return None if self._average_model is None else self._average_model.module.state_dict()

    def _average(self, averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        # torch moves the average towards the weights, so a frozen weight stays equal to its average
        step = get_ema_multi_avg_fn(min(self.decay, (1 + n) / (10 + n)))
        step(averaged, current, n)


def averaged_state(trainer: Trainer) -> dict[str, Tensor] | None:
    """The averaged weights of a fit; None where nothing is averaged."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # Trainer sets it by its connector
    return next((each.averaged_state() for each in callbacks if isinstance(each, RampedEMA)), None)
