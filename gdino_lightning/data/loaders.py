"""Data loaders of batches of one canvas each, and the settings for them that all data modules share."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from gdino_lightning.data.batch import CanvasSampler, Sample, collate
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.errors import ConfigError


@dataclass(frozen=True)
class CanvasLoaders:
    """Makes the loaders of a data module.

    Attributes:
        sizing: resize rule at the base scale.
        train_short_sides: short sides that training batches draw from; empty for that of `sizing` alone.
        batch_size: pictures in a training batch.
        eval_batch_size: pictures in an evaluation batch.
        num_workers: processes that make samples; 0 makes them in the main process.
        pin_memory: load into page-locked memory where CUDA is there.
        seed: order and scales follow from it and the epoch.

    Raises:
        ConfigError: a setting is out of range; it is named as the key of the data module.
    """

    sizing: Sizing
    train_short_sides: Sequence[int]
    batch_size: int
    eval_batch_size: int
    num_workers: int
    pin_memory: bool
    seed: int

    def __post_init__(self) -> None:
        check_at_least(0, num_workers=self.num_workers, seed=self.seed)
        check_at_least(
            1,
            batch_size=self.batch_size,
            eval_batch_size=self.eval_batch_size,
            train_short_sides=min(self.train_short_sides, default=1),
        )

    def for_training(
        self, dataset: Dataset[list[Sample]], sizes: Sequence[tuple[int, int]]
    ) -> DataLoader[list[Sample]]:
        """Batches in an order and of scales that differ by epoch; `sizes` are (width, height) px of all pictures."""
        sampler = CanvasSampler(
            sizes, self.batch_size, self.sizing, short_sides=self.train_short_sides, shuffle=True, seed=self.seed
        )
        return self._loader(dataset, sampler)

    def for_evaluation(
        self, dataset: Dataset[list[Sample]], sizes: Sequence[tuple[int, int]]
    ) -> DataLoader[list[Sample]]:
        """Batches in a fixed order at the base scale; `sizes` are (width, height) px of all pictures."""
        return self._loader(dataset, CanvasSampler(sizes, self.eval_batch_size, self.sizing))

    def _loader(self, dataset: Dataset[list[Sample]], sampler: CanvasSampler) -> DataLoader[list[Sample]]:
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_init_worker,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
        )


def check_at_least(least: int, **settings: int) -> None:
    """Refuse settings below `least`.

    Raises:
        ConfigError: one is; it is named as the key of the data module.
    """
    for name, value in settings.items():
        if value < least:
            raise ConfigError(f"data.{name} is {value}: it must be at least {least}")


def refuse_overfit_batches(trainer: Trainer | None, instead: str) -> None:
    """Refuse a setting with which Lightning replaces the sampler, and the canvases with it.

    Args:
        trainer: of the data module; None while there is none.
        instead: what to set in its place.

    Raises:
        ConfigError: the trainer has it.
    """
    if getattr(trainer, "overfit_batches", 0):
        raise ConfigError(f"trainer.overfit_batches would replace the sampler of canvases: use {instead}")


def _init_worker(_: int) -> None:
    cv2.setNumThreads(0)  # each worker is one process on one core
