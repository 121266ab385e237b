"""The part of the LightningModule that keeps scores: what steps find into the loggers, at the right epoch and step."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.over_detection import over_detection, over_detection_names
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.working_point import Found, working_names, working_scores
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.training.criterion import Losses

logger = logging.getLogger(__name__)

_SAID = ("val/map", "val/map_50", "val/over/boxes_per_object")


class ScoredModule(LightningModule):
    """Owns the metrics and logs what steps find.

    Args:
        class_names: The classes, in the order of their indices.

    Attributes:
        calibrated: The working point in plain types, as checkpoints hold it; None before calibration.
        last_records: Pictures of the newest validation (`val`) and test (`test`), of all ranks.
        trained: Epoch and step of the checkpoint that was loaded.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.val_map = CocoMeanAveragePrecision(class_names)
        self.test_map = CocoMeanAveragePrecision(class_names)
        self.calibrated: dict[str, Any] | None = None
        self.last_records: dict[str, list[PictureRecord]] = {}
        self.trained = (0, 0)

    @property
    def thresholds(self) -> Thresholds | None:
        """The working point; None before calibration: then fixed thresholds are used."""
        return None if self.calibrated is None else Thresholds.from_plain(self.calibrated)

    def metric_names(self) -> list[str]:
        """Names of everything that is logged while fitting: what callbacks can monitor."""
        losses = [f"{stage}/loss{part}" for stage in ("train", "val") for part in ("", "_ce", "_bbox", "_giou")]
        names = self.val_map.class_names
        scores = [*self.val_map.metric_names(), *over_detection_names(names), *working_names(names)]
        return [*losses, *(f"val/{name}" for name in scores)]

    def on_validation_epoch_end(self) -> None:
        """Score the whole split once; a whole sanity check is logged as the zero-shot row."""
        metrics = self._scores("val", self.val_map)
        if not self.trainer.sanity_checking:
            self.log_dict(metrics, sync_dist=True)  # equal on all ranks already; Lightning cannot know
            self._log_place()
            self._say(f"epoch {self.current_epoch if self._fitting else self.trained[0]}", metrics)
        elif math.isinf(self.trainer.num_sanity_val_steps):
            for each in self.trainer.loggers:
                each.log_metrics({name: float(value) for name, value in metrics.items()} | {"epoch": 0}, step=0)
            self._say("before the first step", metrics)

    def on_test_epoch_end(self) -> None:
        """Score the whole split once."""
        self.log_dict(self._scores("test", self.test_map), sync_dist=True)
        self._log_place()

    def log_losses(self, stage: str, losses: Losses, size: int, *, on_step: bool) -> None:
        """Log the total and its parts.

        Args:
            stage: `train`, `val` or `test`.
            losses: What the criterion found.
            size: Pictures in the batch.
            on_step: Log each step, else the mean over the epoch; both are means over the ranks.
        """
        values = {f"{stage}/loss": losses.total.detach()}
        values |= {f"{stage}/loss_{part}": value for part, value in losses.parts.items()}
        if on_step:
            values = self._mean_over_ranks(values)
        for name, value in values.items():
            self.log(
                name,
                value,
                prog_bar=name == f"{stage}/loss",
                on_step=on_step,
                on_epoch=not on_step,
                batch_size=size,
                sync_dist=not on_step,
            )

    def _mean_over_ranks(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what one process would have found in all batches of the step; every rank gives the same names."""
        if self.trainer.world_size == 1:
            return values
        # one transfer for all, where Lightning would make one for each
        return dict(zip(values, self.trainer.strategy.reduce(torch.stack(list(values.values()))), strict=True))

    def _scores(self, stage: str, metric: CocoMeanAveragePrecision) -> dict[str, Tensor]:
        """Return mAP and what the working point is like by key, equal on all ranks, and start the metric anew."""
        names, records = metric.class_names, metric.records()
        thresholds = self.thresholds or Thresholds.fixed(len(names))
        split = (records, names, thresholds, Found.at(records, thresholds))
        values = {**metric.compute(), **over_detection(*split), **working_scores(*split)}
        metric.reset()
        self.last_records[stage] = records
        return {
            f"{stage}/{name}": torch.as_tensor(value, dtype=torch.float32, device=self.device)
            for name, value in values.items()
        }

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
        shown = ", ".join(f"{key} {metrics[key]:.3f}" for key in _SAID)
        logger.info("%s: %s", when, shown)
