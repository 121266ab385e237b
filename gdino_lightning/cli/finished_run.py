"""A run that `fit` left, opened again: its epochs, its data, and how weights do on its validation part."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from jsonargparse import ArgumentParser
from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader

from gdino_lightning.cli.parsers import OneLineErrors
from gdino_lightning.cli.run_config import read_run_config
from gdino_lightning.cli.runs import CHECKPOINTS, CONFIG_NAME, resolve_checkpoint
from gdino_lightning.data.batch import Sample
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import CheckpointError, ConfigError, reason_of
from gdino_lightning.evaluation.records import RecordSet
from gdino_lightning.prompt import class_phrases
from gdino_lightning.training.callbacks.reference import Reference
from gdino_lightning.training.callbacks.store_records import name_records
from gdino_lightning.training.module import GroundingDinoModule

_OF_TRAINER = ("accelerator", "precision", "limit_val_batches")  # what validation depends on


class FinishedRun:
    """A run folder.

    Attributes:
        folder: Where it is.
        config: Its config.yaml.
        epochs: The epochs that are left, from the earliest on.

    Args:
        folder: With config.yaml and checkpoints.

    Raises:
        CheckpointError: It is no run folder, or no epoch is left.
        ConfigError: It is a run on something else than a dataset of boxes.
    """

    def __init__(self, folder: Path) -> None:
        config = folder / CONFIG_NAME
        if not config.is_file():
            raise CheckpointError(f"{folder}: no {CONFIG_NAME} in it; give the folder of a run, such as runs/latest")
        self.config = read_run_config(config)
        found = [resolve_checkpoint(str(path)) for path in (folder / CHECKPOINTS).glob("epoch-*.ckpt")]
        if not found:
            raise CheckpointError(f"{folder / CHECKPOINTS}: no epoch-NN.ckpt; `fit` keeps as many as `keep` says")
        self.epochs = sorted(found, key=epoch_of)
        self.folder = found[0].parent.parent  # without links: `latest` may move on meanwhile
        if "root" not in self.config["data"]:
            raise ConfigError(f"{config}: the run has no data.root; only runs on a dataset can be selected from")
        trainer = self.config["trainer"]
        self._trainer = Trainer(
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            default_root_dir=self.folder,
            **{key: trainer[key] for key in _OF_TRAINER if trainer.get(key) is not None},
        )

    @property
    def reference(self) -> Reference | None:
        """The dataset on which the run watched what it forgot."""
        settings = self.config.get("reference")
        try:
            return None if settings is None else Reference(**settings)
        except TypeError as error:
            raise ConfigError(f"{self.folder / CONFIG_NAME}: reference: {error}") from error

    @property
    def phrases(self) -> dict[str, str]:
        """Class name -> wording of the run."""
        return class_phrases(self.config["model"].get("phrases") or {})

    def data(self, phrases: Mapping[str, str | None] | None = None, root: Path | None = None) -> DetectionDataModule:
        """Return the data module with the run's settings, or one of another dataset with other phrases."""
        settings = dict(self.config["data"]) | {"phrases": dict(phrases or self.phrases)}
        if root is not None:
            settings |= {"root": str(root), "source": None}
        parser = _Parser(prog="gdino select", exit_on_error=False)
        parser.add_class_arguments(DetectionDataModule, "data")
        return cast(DetectionDataModule, parser.instantiate_classes(parser.parse_object({"data": settings})).data)

    def add(self, callback: Callback) -> None:
        """Let a callback take part in what follows."""
        cast(list[Callback], self._trainer.callbacks).append(callback)  # type: ignore[attr-defined]  # set by a connector

    def logged(self, name: str) -> float:
        """Return a value that the newest validation logged."""
        return float(self._trainer.callback_metrics[name])

    def validate(self, module: GroundingDinoModule, data: DetectionDataModule) -> RecordSet:
        """Return what a module finds in the validation part."""
        scores = logging.getLogger("gdino_lightning.training.scored")
        scores.disabled = True  # it says which epoch a checkpoint is of; a mixture is of none
        try:
            self._trainer.validate(module, datamodule=data, verbose=False)
        finally:
            scores.disabled = False
        loader = cast(DataLoader[list[Sample]], self._trainer.val_dataloaders)
        return name_records(module.last_records["val"], module, loader)


class _Parser(OneLineErrors, ArgumentParser):
    """jsonargparse with errors in one line."""


def epoch_of(path: Path) -> int:
    """Return the number of the epoch that an epoch-NN.ckpt holds."""
    return int(path.stem.removeprefix("epoch-"))


def open_checkpoint(path: Path) -> GroundingDinoModule:
    """Return the module of a checkpoint, on the CPU, as `test` would use it.

    Raises:
        CheckpointError: Its hyper-parameters are no settings.
    """
    try:
        return GroundingDinoModule.load_from_checkpoint(path, weights=str(path), map_location="cpu", weights_only=True)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its hyper-parameters are no settings ({reason_of(error)})") from error
