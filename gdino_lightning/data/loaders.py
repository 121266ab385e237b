"""Data loaders of batches of one canvas each, and the settings for them that all data modules share."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from gdino_lightning.data.batch import CanvasSampler, Sample, collate
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.errors import ConfigError
from gdino_lightning.signals import leave_endings_to_the_parent

_LONGEST_TEMPORARY = 107 - len("/pymp-12345678/listener-12345678")  # bytes; the path of a socket has 107


class CanvasLoader(DataLoader[list[Sample]]):
    """Loads the batches of a `CanvasSampler`, and goes on within an epoch.

    Lightning keeps `state_dict` in every checkpoint that resumes, and gives it back before the first batch.
    """

    sampler: CanvasSampler
    _taken = 0  # batches of the newest epoch that were handed out
    _resumed: Mapping[str, Any] | None = None  # the state that a run goes on from

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a loader's own iterator has more to it
        """Hand out the batches of an epoch, or what is left of it.

        Raises:
            ConfigError: A part of the epoch was trained, and its batches would be others now.
        """
        self._taken = self.sampler.first_batch
        if self._taken and self._resumed:
            self._check_same_batches(self._resumed["settings"])
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch, and what its batches follow from."""
        return {"epoch": self.sampler.epoch, "batches": self._taken, "settings": self.sampler.settings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the batches that were trained of the state's epoch; other epochs begin at their start."""
        self._resumed = state
        self.sampler.start_at(state["epoch"], state["batches"])

    def _check_same_batches(self, before: Mapping[str, Any]) -> None:
        now = self.sampler.settings
        changes = [f"{key}: {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
        if changes:
            raise ConfigError(
                f"the checkpoint was saved within an epoch, after {self._taken} batches, and goes on with the same "
                f"batches only ({'; '.join(changes)}); resume with the data and settings of before, or start a new run "
                "with --model.weights"
            )


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
        ConfigError: a setting is out of range; it is named as the key of the data module. Or worker processes are asked
            for where the name of the temporary folder is too long for them.
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
        if self.num_workers and sys.platform == "linux":
            _check_sockets_fit(tempfile.gettempdir())

    @property
    def smallest(self) -> Sizing:
        """The smallest scale that training draws."""
        return self.sizing.at(min(self.train_short_sides, default=self.sizing.short_side))

    def for_training(
        self, dataset: Dataset[list[Sample]], sizes: Sequence[tuple[int, int]], weights: Sequence[float] | None = None
    ) -> CanvasLoader:
        """Batches in an order and of scales that differ by epoch.

        Args:
            dataset: Makes the samples.
            sizes: (width, height) px of all pictures.
            weights: Share of the epochs that ask for each; None for all.
        """
        sampler = CanvasSampler(
            sizes,
            self.batch_size,
            self.sizing,
            short_sides=self.train_short_sides,
            shuffle=True,
            seed=self.seed,
            weights=weights,
        )
        return self._loader(dataset, sampler)

    def for_evaluation(self, dataset: Dataset[list[Sample]], sizes: Sequence[tuple[int, int]]) -> CanvasLoader:
        """Batches in a fixed order at the base scale; `sizes` are (width, height) px of all pictures."""
        return self._loader(dataset, CanvasSampler(sizes, self.eval_batch_size, self.sizing))

    def _loader(self, dataset: Dataset[list[Sample]], sampler: CanvasSampler) -> CanvasLoader:
        return CanvasLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_init_worker,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
        )


def evaluation_loaders(settings: Mapping[str, Any]) -> CanvasLoaders:
    """Loaders with the sizes of a run's data, for few other pictures: those are decoded sooner than processes start.

    Args:
        settings: Hyper-parameters of the run's data module.
    """
    sizing = Sizing(settings["short_side"], settings["long_side_max"], settings["canvas_multiple"])
    batch_size = settings["eval_batch_size"] or settings["batch_size"]
    return CanvasLoaders(sizing, (), batch_size, batch_size, num_workers=0, pin_memory=True, seed=0)


def check_at_least(least: int, **settings: int) -> None:
    """Refuse settings below `least`.

    Raises:
        ConfigError: one is; it is named as the key of the data module.
    """
    for name, value in settings.items():
        if value < least:
            raise ConfigError(f"data.{name} is {value}: it must be at least {least}")


def _check_sockets_fit(temporary: str) -> None:
    """Refuse a temporary folder in which worker processes cannot make the sockets that they hand tensors over by.

    They would print an error of Python's, and the main process would wait for them without end.
    """
    if len(os.fsencode(temporary)) > _LONGEST_TEMPORARY:
        raise ConfigError(
            f"{temporary}: too long a name of a temporary folder for worker processes ({_LONGEST_TEMPORARY} bytes at "
            "most); set TMPDIR to another one, or data.num_workers to 0"
        )


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
    leave_endings_to_the_parent()
