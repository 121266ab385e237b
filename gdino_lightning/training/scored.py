"""The part of the LightningModule that keeps scores: losses and mAP into the loggers, at the right epoch and step."""

import logging
import math
from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.training.criterion import Losses

logger = logging.getLogger(__name__)


class ScoredModule(LightningModule):
    """Owns the metrics and logs what steps find.

    Args:
        class_names: The classes, in the order of their indices.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.val_map = CocoMeanAveragePrecision(class_names)
        self.test_map = CocoMeanAveragePrecision(class_names)
        self.trained = (0, 0)  # epoch and step of the checkpoint that was loaded

    def metric_names(self) -> list[str]:
        """Names of everything that is logged while fitting: what callbacks can monitor."""
        losses = [f"{stage}/loss{part}" for stage in ("train", "val") for part in ("", "_ce", "_bbox", "_giou")]
        return [*losses, *(f"val/{name}" for name in self.val_map.metric_names())]

    def on_validation_epoch_end(self) -> None:
        """Compute mAP once over the whole split; a whole sanity check is logged as the zero-shot row."""
        metrics = _computed("val", self.val_map)
        if not self.trainer.sanity_checking:
            self.log_dict(metrics, sync_dist=True)  # equal on all ranks already; Lightning cannot know
            self._log_place()
            self._say(f"epoch {self.current_epoch if self._fitting else self.trained[0]}", metrics)
        elif math.isinf(self.trainer.num_sanity_val_steps):
            for each in self.trainer.loggers:
                each.log_metrics({name: float(value) for name, value in metrics.items()} | {"epoch": 0}, step=0)
            self._say("before the first step", metrics)

    def on_test_epoch_end(self) -> None:
        """Compute mAP once over the whole split."""
        self.log_dict(_computed("test", self.test_map), sync_dist=True)
        self._log_place()

    def log_losses(self, stage: str, losses: Losses, size: int, *, on_step: bool) -> None:
        """Log the total and its parts.

        Args:
            stage: `train`, `val` or `test`.
            losses: What the criterion found.
            size: Pictures in the batch.
            on_step: Log each step, else the mean over the epoch and the ranks.
        """
        values = {f"{stage}/loss_{part}": value for part, value in losses.parts.items()}
        self.log(
            f"{stage}/loss",
            losses.total.detach(),
            prog_bar=True,
            on_step=on_step,
            on_epoch=not on_step,
            batch_size=size,
            sync_dist=not on_step,
        )
        self.log_dict(values, on_step=on_step, on_epoch=not on_step, batch_size=size, sync_dist=not on_step)

    @property
    def _fitting(self) -> bool:
        return self.trainer.state.fn == TrainerFn.FITTING

    def _log_place(self) -> None:
        """Outside of fitting, file the scores under the epoch and step of the checkpoint that was scored."""
        if not self._fitting:
            for name, value in zip(("epoch", "step"), self.trained, strict=True):
                self.log(name, float(value), sync_dist=True)

    @rank_zero_only
    def _say(self, when: str, metrics: dict[str, Tensor]) -> None:
        logger.info("%s: val/map %.3f, val/map_50 %.3f", when, metrics["val/map"], metrics["val/map_50"])


def _computed(stage: str, metric: CocoMeanAveragePrecision) -> dict[str, Tensor]:
    values = metric.compute()
    metric.reset()
    return {f"{stage}/{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
