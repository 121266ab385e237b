"""Early stopping with a guard: a run ends when it no longer gains, and at once when it collapses."""

import logging
import math
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from torch import Tensor

from gdino_lightning.errors import ConfigError

logger = logging.getLogger(__name__)


class GuardedEarlyStopping(EarlyStopping):
    """Stops a run that no longer gains, or whose monitored value collapses, and says which of them it was.

    A collapse is a value that is not finite, or one that is worse than the best by more than `collapse_share` of
    the best. Patience alone would go on for epochs: users of the published model saw fine-tuning fall from mAP 55.7
    to 44.1, by a fifth, in four. Of a best value of 0 or less, as COCO's -1, no share is known, and only a value
    that is not finite is a collapse.

    It looks once after every validation but the one before the first step. What it has counted is in `last.ckpt`;
    the settings of a resumed run are those that it is resumed with, and a run that stopped by them trains no further.

    Two methods of Lightning's class that are overridden are private; the tests of this file hold their behaviour.

    Args:
        monitor: Any metric that is logged while fitting, as `val/map` or `val/over/boxes_per_object`.
        mode: `max` if higher is better, `min` if lower is.
        patience: Validations without a gain after which the run stops.
        min_delta: Minimum gain. Differences up to this are noise, so they are no collapse either.
        collapse_share: Share of the best value, above 0, by which a value may be worse; null for no such guard. The
            default suits published weights; models that start from random ones jump more and need some .5.

    Raises:
        ConfigError: A setting cannot be used.
    """

    def __init__(
        self,
        monitor: str = "val/map",
        mode: Literal["max", "min"] = "max",
        patience: int = 5,
        min_delta: float = 0.002,
        collapse_share: float | None = 0.2,
    ) -> None:
        if mode not in ("max", "min"):
            raise ConfigError(f"early stopping: mode is {mode!r}, expected 'max' or 'min'")
        if patience < 1:
            raise ConfigError(f"early stopping: patience is {patience}, expected at least 1 validation")
        if not 0 <= min_delta < math.inf:
            raise ConfigError(f"early stopping: min_delta is {min_delta}, expected 0 or more")
        if collapse_share is not None and not 0 < collapse_share < math.inf:
            raise ConfigError(f"early stopping: collapse_share is {collapse_share}, expected a share above 0, or null")
        super().__init__(monitor, min_delta=min_delta, patience=patience, mode=mode)
        self.collapse_share = collapse_share
        self._newest: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted, and the newest value, in plain types."""
        return super().state_dict() | {"newest": self._newest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting, with the patience of this run: Lightning would take that of the run before."""
        super().load_state_dict(state_dict | {"patience": self.patience})
        self._newest = state_dict.get("newest")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that had stopped, unless it is resumed with settings by which it would not have."""
        collapse = None if self._newest is None else self._collapse(self._newest, float(self.best_score))
        if collapse or self.wait_count >= self.patience:
            trainer.should_stop = True
            counted = f"{self.monitor} did not gain in {self.wait_count} validations; go on with a higher patience"
            logger.warning("the run had stopped early: %s", collapse or counted)

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        """Look once; say why where the run stops."""
        stopping = trainer.should_stop
        super()._run_early_stopping_check(trainer)
        if trainer.is_global_zero and trainer.should_stop and not stopping:
            logger.warning("stopped in epoch %d: %s", trainer.current_epoch, self.stopping_reason_message)

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Return whether to stop, and why."""
        self._newest = float(current)
        collapse = self._collapse(float(current), float(self.best_score))
        if collapse is None:
            return super()._evaluate_stopping_criteria(current)
        self.stopping_reason = EarlyStoppingReason.DIVERGENCE_THRESHOLD
        return True, collapse

    def _collapse(self, value: float, best: float) -> str | None:
        """Describe the collapse from the best value to a finite one; None where it is none."""
        worse_by = best - value if self.mode == "max" else value - best
        if self.collapse_share is None or best <= 0 or not math.isfinite(worse_by):
            return None
        if worse_by <= max(self.collapse_share * best, abs(self.min_delta)):  # Lightning gives it the sign of a gain
            return None
        return (
            f"{self.monitor} collapsed to {value:.3f}, {worse_by / best:.0%} worse than its best, {best:.3f} (allowed: "
            f"{self.collapse_share:.0%}); usual causes: a high learning rate, a text encoder that is not frozen"
        )
