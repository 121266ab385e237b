"""The numbers of a benchmark for what a test found."""

from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.evaluation.protocols import PROTOCOLS, ProtocolName
from gdino_lightning.evaluation.protocols.table import score_row
from gdino_lightning.evaluation.records import empty_record
from gdino_lightning.training.callbacks.store_records import name_records
from gdino_lightning.training.scored import ScoredModule


class ProtocolScore(Callback):
    """Logs `test/<protocol>/<number>` to the loggers, and keeps the numbers.

    Args:
        protocol: Whose numbers.
        annotations: The benchmark's own JSON of the split; None scores by the tables, where the protocol can.

    Attributes:
        scores: The numbers of the newest test by name, on the first process.
    """

    def __init__(self, protocol: ProtocolName, annotations: Path | None = None) -> None:
        super().__init__()
        self.protocol = protocol
        self.annotations = annotations
        self.scores: dict[str, float] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score as if nothing had been found: what the protocol refuses shows before the first picture.

        Raises:
            ConfigError: The protocol cannot do without the JSON.
            DatasetError: The JSON cannot be used, or is not of this split.
        """
        module = cast(ScoredModule, pl_module)
        nothing = [empty_record(index) for index in range(len(_loader(trainer).dataset))]  # type: ignore[arg-type]
        PROTOCOLS[self.protocol](name_records(nothing, module, _loader(trainer)), self.annotations)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score what was found."""
        if not trainer.is_global_zero:
            return
        module = cast(ScoredModule, pl_module)
        found = name_records(module.last_records["test"], module, _loader(trainer))
        self.scores = PROTOCOLS[self.protocol](found, self.annotations)
        row = {f"test/{self.protocol}/{name}": value for name, value in self.scores.items()}
        epoch, step = module.trained
        for each in trainer.loggers:
            each.log_metrics(row | {"epoch": float(epoch)}, step=step)

    def table(self) -> str:
        """The numbers in percent, as papers have them."""
        by = "the tables" if self.annotations is None else str(self.annotations)
        return score_row(f"{self.protocol}, by {by}", self.scores)


def _loader(trainer: Trainer) -> DataLoader[list[Sample]]:
    return cast(DataLoader[list[Sample]], trainer.test_dataloaders)
