"""Many pictures on several devices or machines: Lightning starts the processes and deals the devices."""

from collections.abc import Callable
from datetime import timedelta

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.batches import LookBatch, picture_loader
from gdino_lightning.inference.look import LookRun
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.sources import Source

_PATIENCE = timedelta(days=1)  # how long a process waits for the slowest one


def run_on_many(
    predictor: Predictor,
    make_run: Callable[[int], LookRun],
    *,
    devices: int,
    num_nodes: int,
    batch_size: int,
    num_workers: int,
) -> LookRun | None:
    """Look at every picture once, each in one of several processes.

    Args:
        predictor: The model, on the CPU or a device of the kind that is wanted.
        make_run: Makes the run of one process, given its rank.
        devices: Processes on each machine, one for each device.
        num_nodes: Machines; the same command is started on each, as Lightning's documentation describes.
        batch_size: Pictures in a batch.
        num_workers: Processes that read pictures, beside each of these.

    Returns:
        The run in the first process, when all are done; None in the others.

    Raises:
        ConfigError: There are no such devices, or there are videos among the sources.
    """
    module = _Looking(predictor, make_run, batch_size, num_workers)
    try:
        trainer = Trainer(
            accelerator="gpu" if predictor.device.type == "cuda" else "cpu",
            devices=devices,
            num_nodes=num_nodes,
            strategy=DDPStrategy(timeout=_PATIENCE),
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (RuntimeError, ValueError) as error:  # MisconfigurationException is a ValueError or RuntimeError by version
        raise ConfigError(f"devices {devices}, num_nodes {num_nodes}: {str(error).splitlines()[0]}") from error
    trainer.predict(module, return_predictions=False)
    return module.run if trainer.is_global_zero else None


class _Looking(LightningModule):
    """Plans the share of its process and looks at it."""

    run: LookRun

    def __init__(
        self, predictor: Predictor, make_run: Callable[[int], LookRun], batch_size: int, num_workers: int
    ) -> None:
        super().__init__()
        self.detector = predictor.detector  # what Lightning moves to the device
        self._make_run, self._batch_size, self._num_workers = make_run, batch_size, num_workers
        self._batches: list[list[Source]] = []

    def setup(self, stage: str) -> None:
        """Read what is done; nobody begins before all have read it, or shares would overlap."""
        self.run = self._make_run(self.trainer.global_rank)
        if self.run.videos:
            raise ConfigError("videos are looked at in one process: leave --devices and --num_nodes out")
        self._batches = self.run.batches(self._batch_size)
        self.trainer.strategy.barrier()

    def predict_dataloader(self) -> DataLoader[LookBatch]:
        """Batches of this process: every so manieth of all."""
        own = self._batches[self.trainer.global_rank :: self.trainer.world_size]
        # Lightning leaves out the end of a prediction without any batch, and the others would wait for it
        return picture_loader(own or [[]], self.run.predictor.sizing, self._num_workers)

    def on_predict_start(self) -> None:
        """Tell the predictor where the model is now."""
        self.run.predictor.device = self.device

    def transfer_batch_to_device(self, batch: LookBatch, device: object, dataloader_idx: int) -> LookBatch:
        """Leave the pictures where they are: what the model needs of them is moved by `Predictor.answer`."""
        return batch

    def predict_step(self, batch: LookBatch, batch_idx: int) -> int:
        """Look at one batch and keep what is found at once; return the number of pictures."""
        results = self.run.look(batch)
        self.run.keep(batch, results)
        return len(results)

    def on_predict_end(self) -> None:
        """Wait for all."""
        self.trainer.strategy.barrier()
