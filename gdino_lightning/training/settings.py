"""Checks of the numbers a user can set on the module."""

import math
from collections.abc import Mapping

from gdino_lightning.errors import ConfigError

MOST_DENOISING = 1000  # attention among queries grows with the square; published trainers use 100


def check_numbers(**settings: float | None) -> None:
    """Refuse settings out of range; None means a default that is known later.

    Raises:
        ConfigError: If a value is negative, infinite or NaN, 0 where it must not be, or a probability of 1 where
            it must be less.
    """
    for name, value in settings.items():
        above_zero = name in ("learning_rate", "top_k", "prompt_tokens")
        if value is None:
            continue
        if not (value > 0 if above_zero else value >= 0) or math.isinf(value):
            raise ConfigError(f"model.{name} is {value}: it must be {'above 0' if above_zero else '0 or more'}")
        if name == "denoising_queries" and value > MOST_DENOISING:
            raise ConfigError(f"model.denoising_queries is {value}: it must be {MOST_DENOISING} or less")
        if name in ("dropout", "drop_path") and value >= 1:
            raise ConfigError(f"model.{name} is {value}: it must be below 1")


def check_multipliers(multipliers: Mapping[str, float]) -> None:
    """Refuse a rate that does not let its part learn.

    Raises:
        ConfigError: If a multiplier is not above 0, infinite or NaN.
    """
    for part, value in multipliers.items():
        if not 0 < value < math.inf:
            raise ConfigError(
                f"model.lr_multipliers.{part} is {value}: it must be above 0; to keep it, use model.freeze"
            )


def check_prompt_tokens(wanted: int | None, longest: int) -> int:
    """Return how many tokens a prompt may have: `wanted`, or as many as the model reads.

    Raises:
        ConfigError: If the model does not read that many.
    """
    if wanted is not None and wanted > longest:
        raise ConfigError(f"model.prompt_tokens is {wanted}: the model reads {longest} tokens at once")
    return longest if wanted is None else wanted
