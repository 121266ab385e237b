"""The numbers of a benchmark for what a test found."""

from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.protocols import PROTOCOLS, ProtocolName
from gdino_lightning.evaluation.protocols.official import read_official
from gdino_lightning.evaluation.protocols.table import score_row
from gdino_lightning.training.callbacks.store_records import name_records
from gdino_lightning.training.scored import ScoredModule


class ProtocolScore(Callback):
    """Logs `test/<protocol>/<number>` to the loggers, and keeps the numbers.

    Args:
        protocol: Whose numbers.
        annotations: The benchmark's own JSON of the split; None scores by the tables, where the protocol can.

    Attributes:
        scores: The numbers of the newest test by name, on the first process.

    Raises:
        ConfigError: The protocol cannot do without the JSON.
        DatasetError: The JSON cannot be used.
    """

    def __init__(self, protocol: ProtocolName, annotations: Path | None = None) -> None:
        super().__init__()
        if annotations is not None:
            read_official(annotations)  # to find before a test what is wrong with it
        elif protocol != "coco":
            raise ConfigError(f"--protocol {protocol} needs --annotations: the benchmark's own JSON of the split")
        self.protocol = protocol
        self.annotations = annotations
        self.scores: dict[str, float] = {}

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score what was found.

        Raises:
            DatasetError: The JSON is not of this split.
        """
        if not trainer.is_global_zero:
            return
        module = cast(ScoredModule, pl_module)
        loader = cast(DataLoader[list[Sample]], trainer.test_dataloaders)
        found = name_records(module.last_records["test"], module, loader)
        self.scores = PROTOCOLS[self.protocol](found, self.annotations)
        row = {f"test/{self.protocol}/{name}": value for name, value in self.scores.items()}
        epoch, step = module.trained
        for each in trainer.loggers:
            each.log_metrics(row | {"epoch": float(epoch)}, step=step)

    def table(self) -> str:
        """The numbers in percent, as papers have them."""
        by = "the tables" if self.annotations is None else str(self.annotations)
        return score_row(f"{self.protocol}, by {by}", self.scores)
