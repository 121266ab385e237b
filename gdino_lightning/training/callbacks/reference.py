"""What training makes a model forget: its zero-shot score on another dataset, before, during and after."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.loaders import evaluation_loaders
from gdino_lightning.data.pictures import Picture, read_split
from gdino_lightning.data.publish import finish_preparation
from gdino_lightning.data.split import split_names
from gdino_lightning.data.table import TABLE_NAME, read_table
from gdino_lightning.errors import ConfigError, DatasetError, listed
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.prompt import Prompt, class_phrases
from gdino_lightning.training.steps import DetectionSteps

METRICS = ("reference/map", "reference/map_50")  # after `val/` and `test/`
_PARTS = {TrainerFn.FITTING: "train", TrainerFn.VALIDATING: "train", TrainerFn.TESTING: "test"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """Another dataset, which the run never trains on.

    Attributes:
        root: Folder that `gdino prepare` wrote. Pictures of its train/ are scored with each validation, those of its
            test/ with a test, so that what is chosen by the first is judged by the second.
        phrases: Label -> wording (empty: the label, underscores as spaces), or labels alone; boxes of other labels are
            left out. Null: all its labels.
        num_pictures: Pictures of each part, drawn once and for all; fewer where there are fewer.
        every_n_epochs: Epochs from one score to the next; the last planned epoch is scored, too.

    Raises:
        ConfigError: A number is below 1.
        PromptError: A phrase cannot be used.
    """

    root: str
    phrases: dict[str, str | None] | list[str] | None = None
    num_pictures: int = 100
    every_n_epochs: int = 1

    def __post_init__(self) -> None:
        for name in ("num_pictures", "every_n_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"reference.{name} is {getattr(self, name)}: it must be at least 1")
        if self.phrases is not None:
            class_phrases(self.phrases)

    def wordings(self) -> dict[str, str]:
        """Return label -> wording.

        Raises:
            DatasetError: A part is missing or cannot be read, or a phrase is of no label.
        """
        labels = {row.label_name for part in ("train", "test") for row in read_table(self._table(part))}
        wordings = class_phrases(sorted(labels) if self.phrases is None else self.phrases)
        if unknown := [label for label in wordings if label not in labels]:
            raise DatasetError(
                f"reference.phrases: {listed(unknown)}: no box in {self.root} has this label; there are "
                f"{listed(sorted(labels))}"
            )
        return wordings

    def pictures(self, part: str) -> list[Picture]:
        """Return the pictures of `train` or `test` that are scored, with the boxes of the phrases.

        Raises:
            DatasetError: The part cannot be read.
        """
        asked = self.wordings()
        pictures = read_split(self._table(part).parent)
        if self.num_pictures < len(pictures):
            drawn = set(split_names([picture.name for picture in pictures], self.num_pictures, seed=0)[0])
            pictures = [picture for picture in pictures if picture.name in drawn]
        return [_with_labels(picture, asked) for picture in pictures]

    def _table(self, part: str) -> Path:
        finish_preparation(Path(self.root))
        table = Path(self.root) / part / TABLE_NAME
        if not table.is_file():
            raise DatasetError(f"{table}: no such table; reference.root must be a folder that `gdino prepare` wrote")
        return table


class ReferenceScore(Callback):
    """Logs `{val,test}/reference/{map,map_50}`: COCO's mAP on a reference, with the phrases of the reference.

    Scored are the weights that validation scores (averaged ones with `RampedEMA`), by the same sizes and precision: on
    a whole sanity check, which is the model before the first step, in the epochs of a fit that are due, and on
    `validate` and `test`. No random number is drawn for it, so a run trains as it would without.

    Args:
        reference: The dataset.
    """

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference
        self._prompts: list[Prompt] = []
        self._labels: list[str] = []
        self._loader: DataLoader[list[Sample]] | None = None

    def metric_names(self) -> list[str]:
        """Names of what every validation of a fit logs, and so can be monitored."""
        return [f"val/{name}" for name in METRICS] if self.reference.every_n_epochs == 1 else []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the reference, so that what is wrong with it shows before any step.

        Raises:
            ConfigError: It is the dataset that the run trains on.
            DatasetError: It cannot be read, or a phrase is of no label.
            PromptError: A phrase cannot be used.
        """
        if stage not in _PARTS:
            return
        settings = cast(LightningDataModule, trainer.datamodule).hparams  # type: ignore[attr-defined]  # set by a connector
        if "root" in settings and Path(settings["root"]).resolve() == Path(self.reference.root).resolve():
            raise ConfigError(
                f"reference.root is {self.reference.root}, as data.root: name a dataset that is not trained"
            )
        wordings = self.reference.wordings()
        self._labels = list(wordings)
        self._prompts = cast(DetectionSteps, pl_module).questioner.prompts(list(wordings.values()))
        dataset = DetectionDataset(self.reference.pictures(_PARTS[TrainerFn(stage)]), self._labels)
        self._loader = evaluation_loaders(settings).for_evaluation(dataset, dataset.sizes)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score before the first batch: by then, whatever the order of callbacks, averaged weights are in place."""
        if batch_idx == 0 and self._is_due(trainer):
            self._log("val", trainer, cast(DetectionSteps, pl_module))

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Score before the first batch."""
        if batch_idx == 0:
            self._log("test", trainer, cast(DetectionSteps, pl_module))

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.sanity_checking:
            return math.isinf(trainer.num_sanity_val_steps)
        epochs = trainer.current_epoch + 1
        every = self.reference.every_n_epochs if trainer.state.fn == TrainerFn.FITTING else 1
        return epochs % every == 0 or epochs == trainer.max_epochs

    def _log(self, stage: str, trainer: Trainer, module: DetectionSteps) -> None:
        scores = {f"{stage}/{name}": value for name, value in self._score(trainer, module).items()}
        if trainer.sanity_checking:
            row = {name: float(value) for name, value in scores.items()} | {"epoch": 0}
            for each in trainer.loggers:
                each.log_metrics(row, step=0)
            _say("before the first step", scores)
            return
        for name, value in scores.items():
            module.log(name, value, batch_size=1, sync_dist=True)  # equal on all ranks already; Lightning cannot know
        if trainer.state.fn != TrainerFn.VALIDATING:  # of which `gdino select` does many
            _say("test" if trainer.testing else f"epoch {trainer.current_epoch}", scores)

    def _score(self, trainer: Trainer, module: DetectionSteps) -> dict[str, Tensor]:
        """Return the values of METRICS, equal on all ranks, each of which scores its share."""
        metric = CocoMeanAveragePrecision(self._labels).to(module.device)
        with isolate_rng(), trainer.precision_plugin.forward_context():  # an iterator over data draws a seed
            for batch in cast(DataLoader[list[Sample]], self._loader):
                here = move_data_to_device(batch, module.device)
                metric.update(module.detect(here, self._prompts), here.targets)
        scores = metric.compute()
        return {name: scores[name.removeprefix("reference/")] for name in METRICS}


def _with_labels(picture: Picture, labels: Mapping[str, str]) -> Picture:
    kept = np.array([label in labels for label in picture.labels], dtype=np.bool_)
    wanted = tuple(label for label in picture.labels if label in labels)
    return replace(picture, boxes_px=picture.boxes_px[kept], labels=wanted)


@rank_zero_only
def _say(when: str, scores: Mapping[str, Tensor]) -> None:
    logger.info("%s: %s", when, ", ".join(f"{name} {float(value):.3f}" for name, value in scores.items()))
