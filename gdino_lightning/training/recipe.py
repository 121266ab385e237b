"""How the weights learn: rates by part, optimizer and schedule, from the settings of the module."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from gdino_lightning.model.adapt import PARTS, part_of
from gdino_lightning.training.optimizer import (
    ParameterGroup,
    Schedule,
    build_optimizer,
    parameter_groups,
    refresh_groups,
    schedule_factor,
)


@dataclass(frozen=True)
class Recipe:
    """Settings of the module that make its optimizer; `GroundingDinoModule` describes them."""

    learning_rate: float
    lr_multipliers: Mapping[str, float]
    weight_decay: float
    optimizer: Literal["adamw", "adam"]
    schedule: Schedule
    warmup_steps: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Recipe":
        """Pick them from all settings of the module."""
        return cls(**{field.name: settings[field.name] for field in fields(cls)})

    def groups(self, model: nn.Module) -> list[ParameterGroup]:
        """The weights that learn, with their rates."""
        return parameter_groups(model, self.learning_rate, self.lr_multipliers, self.weight_decay)

    def build(self, model: nn.Module, total_steps: float, *, fused: bool) -> OptimizerLRSchedulerConfig:
        """Build the optimizer and its schedule over `total_steps` optimizer steps."""
        optimizer = build_optimizer(self.optimizer, self.groups(model), fused=fused)
        factor = schedule_factor(self.schedule, self.warmup_steps, total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def refresh(self, checkpoint: Mapping[str, Any], model: nn.Module, *, fused: bool) -> None:
        """Put these settings into the optimizer and schedule of a checkpoint, in place.

        Raises:
            CheckpointError: If other weights learn now than did then.
        """
        states = zip(checkpoint.get("optimizer_states", ()), checkpoint.get("lr_schedulers", ()), strict=True)
        for optimizer, scheduler in states:
            scheduler["base_lrs"] = refresh_groups(optimizer["param_groups"], self.groups(model), fused=fused)


def parts_table(model: nn.Module, groups: list[ParameterGroup]) -> str:
    """Tell what learns: part, parameters, how many of them are trained, and at which learning rate.

    Args:
        model: The transformers detector.
        groups: What `parameter_groups` makes of it.
    """
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    parameters = dict(model.named_parameters())
    rows = [("part", "parameters", "trained", "learning rate")]
    for part in PARTS:
        names = [name for name in parameters if part_of(name) == part]
        trained = [name for name in names if name in rates]
        rows.append(
            (
                part,
                f"{sum(parameters[name].numel() for name in names):,}",
                f"{sum(parameters[name].numel() for name in trained):,}",
                ", ".join(f"{rate:.1e}" for rate in sorted({rates[name] for name in trained})) or "frozen",
            )
        )
    total, learned = (sum(parameters[name].numel() for name in names) for names in (parameters, rates))
    rows.append(("all", f"{total:,}", f"{learned:,}", ""))
    return "\n".join(f"{part:<16}{size:>13}{count:>13}  {rate}".rstrip() for part, size, count, rate in rows)
