"""Optimizer and schedule: parameter groups by rate, warm-up, then a drop, a cosine or nothing."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

import torch
from torch import nn
from torch.optim import Optimizer

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.adapt import select

Schedule = Literal["drop", "cosine", "constant"]
OTHER = "other"  # the group of what no multiplier names
DROP_AT, DROP_FACTOR = 0.7, 0.1  # published recipes drop to a tenth at some 70 % of the steps


class ParameterGroup(TypedDict):
    """One group as torch's optimizers take it; `name` is what the learning-rate monitor shows."""

    name: str
    params: list[tuple[str, nn.Parameter]]
    lr: float
    weight_decay: float


def parameter_groups(
    model: nn.Module, learning_rate: float, multipliers: Mapping[str, float], weight_decay: float
) -> list[ParameterGroup]:
    """Group the trained parameters by rate, with no decay on norms, biases and other vectors.

    Args:
        model: The transformers detector.
        learning_rate: Rate of what no multiplier names.
        multipliers: Rate of parts relative to `learning_rate`, by names as `select` takes them; where two of them
            name a parameter, the later one counts.
        weight_decay: Decay of matrices and kernels.

    Raises:
        ConfigError: If there is no part of a name.
    """
    names = [name for name, _ in model.named_parameters()]
    owners = dict.fromkeys(names, OTHER)
    for selector in multipliers:
        owners |= dict.fromkeys(select(names, selector, "lr_multipliers"), selector)
    groups: dict[str, ParameterGroup] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        owner = owners[name]
        decay = weight_decay if parameter.ndim > 1 else 0.0
        key = owner if parameter.ndim > 1 else f"{owner}-no-decay"
        rate = learning_rate * multipliers.get(owner, 1.0)
        group = groups.setdefault(key, {"name": key, "params": [], "lr": rate, "weight_decay": decay})
        group["params"].append((name, parameter))
    return [groups[key] for key in sorted(groups)]


def build_optimizer(kind: Literal["adamw", "adam"], groups: list[ParameterGroup], *, fused: bool) -> Optimizer:
    """Build AdamW (decoupled decay) or plain Adam over the groups.

    Args:
        kind: Which one.
        groups: What `parameter_groups` returns.
        fused: Use torch's fused form. On a CPU it makes the miniature's step shorter; under mixed precision
            Lightning cannot clip with it.
    """
    classes: dict[str, type[torch.optim.Adam]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return classes[kind]([dict(group) for group in groups], fused=fused or None)


def refresh_groups(saved: list[dict[str, Any]], wanted: list[ParameterGroup], *, fused: bool) -> list[float]:
    """Give the groups of a saved optimizer today's settings, at the same point of their schedule.

    Args:
        saved: `param_groups` of an optimizer state over `parameter_groups`; changed in place.
        wanted: The groups as they would be built now.
        fused: As in `build_optimizer`.

    Returns:
        The full rate of each group, which the scheduler starts from.

    Raises:
        CheckpointError: If other weights learn now than did then.
    """
    if len(saved) != len(wanted) or not all(map(_same_weights, saved, wanted)):
        then, now = (
            ", ".join(f"{group['name']} ({len(group['params'])})" for group in groups) for groups in (saved, wanted)
        )
        raise CheckpointError(
            f"the checkpoint trained other weights: {then}; now {now} would learn: resume with the same model.freeze, "
            "model.lora and model.lr_multipliers, or start a new run with --model.weights and this checkpoint"
        )
    for old, new in zip(saved, wanted, strict=True):
        old["lr"] *= new["lr"] / old["initial_lr"]
        old |= {"initial_lr": new["lr"], "weight_decay": new["weight_decay"], "fused": fused or None}
    return [group["lr"] for group in wanted]


def _same_weights(saved: dict[str, Any], wanted: ParameterGroup) -> bool:
    names = [name for name, _ in wanted["params"]]
    # groups of version 0.1.0 have no names
    return len(saved["params"]) == len(names) and saved.get("param_names", names) == names


def schedule_factor(schedule: Schedule, warmup_steps: int, total_steps: float) -> Callable[[int], float]:
    """Return the factor on every learning rate as a function of the optimizer step.

    Args:
        schedule: `drop` to a tenth at 70 % of the steps, `cosine` to zero at the end, or `constant`.
        warmup_steps: Steps over which the rate rises linearly from near 0.
        total_steps: Optimizer steps of the whole run; infinite runs never drop.
    """

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (warmup_steps + 1))
        if schedule == "constant" or math.isinf(total_steps):
            return warm
        if schedule == "drop":
            return warm * (DROP_FACTOR if step >= DROP_AT * total_steps else 1.0)
        progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))

    return factor
