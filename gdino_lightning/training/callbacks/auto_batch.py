"""The largest micro-batch that fits, found before training begins; the effective batch stays as it was set."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Request, Sample
from gdino_lightning.errors import ConfigError

logger = logging.getLogger(__name__)
_STEPS = 3  # of a trial; the optimizer's state is there from the second one on


class AutoBatch(BatchSizeFinder):
    """Tries 1, 2, 4, ... pictures at a time with Lightning's finder until memory is full.

    `data.batch_size` times `trainer.accumulate_grad_batches` is the effective batch, and stays: the micro-batch becomes
    its largest divisor that fits, and accumulation does the rest. A trial takes the largest canvases, so that no later
    batch fails. Weights and counters are as before when training begins; a resumed run keeps what was found. On a
    CPU, where full memory is no error, the effective batch itself is taken.

    Raises:
        ConfigError: If there are several processes.
        torch.OutOfMemoryError: If not even one picture fits.
    """

    def __init__(self) -> None:
        super().__init__(steps_per_trial=_STEPS, init_val=1)
        self._found: dict[str, int] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Refuse what the finder cannot do."""
        if trainer.world_size > 1:
            raise ConfigError("AutoBatch works in one process: set data.batch_size and leave it out")
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the micro-batch, or take what the resumed run found."""
        if trainer.ckpt_path is None and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside the class
            self._search(trainer, pl_module)
        if self._found:
            _data(trainer).hparams["batch_size"] = self._found["batch_size"]
            trainer.accumulate_grad_batches = self._found["accumulate"]
            trainer.fit_loop._combined_loader = None  # of the old size
            trainer.strategy.setup_optimizers(trainer)  # the schedule counts its steps anew

    def state_dict(self) -> dict[str, Any]:
        """Return what was found."""
        return dict(self._found)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what the resumed run found."""
        self._found = dict(state_dict)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing: the key is about training."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing, as above."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing, as above."""

    def _search(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = _data(trainer)
        effective = data.hparams["batch_size"] * trainer.accumulate_grad_batches
        pl_module.train()  # Lightning calls the module's own `on_fit_start` after this one
        trainer.accumulate_grad_batches = 1  # each batch of a trial is a whole step
        # the finder stops at twice the effective batch untried, so that this batch itself was tried
        self._max_val = 2 * effective
        try:
            with _largest_first(data):
                data.hparams["batch_size"] = self._init_val
                trainer.fit_loop._combined_loader = None  # else the first trial runs with the loader of the old size
                self.scale_batch_size(trainer, pl_module)
        except ConfigError as error:
            if data.hparams["batch_size"] > 0:
                raise
            raise torch.OutOfMemoryError("out of memory: not even one picture fits") from error
        most = min(self.optimal_batch_size or 1, effective)
        size = max(divisor for divisor in range(1, most + 1) if effective % divisor == 0)
        self._found = {"batch_size": size, "accumulate": effective // size}
        logger.info("micro-batches of %d, %d accumulated: %d pictures a step", size, effective // size, effective)


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector


@contextmanager
def _largest_first(data: Any) -> Iterator[None]:
    """Let the data module give the batches of an epoch with the largest canvases first."""

    def train_dataloader() -> DataLoader[list[Sample]]:
        loader = type(data).train_dataloader(data)
        batches = sorted(loader.sampler, key=_pixels, reverse=True)
        return DataLoader(loader.dataset, batch_size=None, sampler=batches, collate_fn=loader.collate_fn)

    data.train_dataloader = train_dataloader
    try:
        yield
    finally:
        del data.train_dataloader


def _pixels(requests: list[Request]) -> int:
    width, height = requests[0].canvas
    return len(requests) * width * height
