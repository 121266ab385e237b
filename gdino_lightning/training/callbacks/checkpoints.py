"""Checkpoints at the end of every epoch: the best and the newest to choose from, and one that resumes."""

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.bootstrap import bootstrap_map
from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.selection import Candidate, Choice, choose
from gdino_lightning.files import part_of, replacing
from gdino_lightning.training.scored import ScoredModule

MAP = "val/map"  # has a standard error, by which the rule of selection goes

logger = logging.getLogger(__name__)


class EpochCheckpoints(Checkpoint):
    """Saves three kinds of files when an epoch and its validation are done.

    - `epoch-NN.ckpt`: weights only, NN as in metrics.csv (from 00). `keep` of them stay: newest and best.
    - `best.ckpt`: weights only, the chosen epoch so far (a hard link where the disk allows it).
    - `last.ckpt`: with optimizer, schedule, counters and callbacks; resumes with the next epoch. Where a signal ends a
      fit within an epoch, it is written there, between two steps, and resumes with the next batch.

    The trainer's `WholeCheckpointIO` writes each file beside its place and moves it there, so a crash leaves the file
    of the epoch before; what a killed run left half-written is removed when training starts. A score is the monitored
    value of a validation that ran in the epoch (not of an earlier one); NaN is none.

    Where `val/map` is monitored, `evaluation/selection.py` chooses among the kept epochs: the earliest of those within
    one standard error of the best, unless it is clearly worse in over-detection or calibration, which count where the
    epochs are calibrated. By other metrics the best epoch is chosen, the first of equal ones.

    Args:
        monitor: metric by which epochs are compared.
        mode: `max` if higher is better, `min` if lower is.
        keep: how many `epoch-NN.ckpt` stay, at least 1: the newest, the chosen and the best ones.
        dirpath: where to save; by default `checkpoints` in the trainer's `default_root_dir`.

    Raises:
        ConfigError: `mode` or `keep` cannot be used, `monitor` is a metric of a validation that never runs,
            or (at the end of the first validation) nothing is logged under its name.
    """

    def __init__(
        self,
        monitor: str = "val/map",
        mode: Literal["max", "min"] = "max",
        keep: int = 5,
        dirpath: str | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("max", "min"):
            raise ConfigError(f"checkpoints: mode is {mode!r}, expected 'max' or 'min'")
        if keep < 1:
            raise ConfigError(f"checkpoints: keep is {keep}, but at least the newest epoch (1) must stay")
        self.monitor = monitor
        self.mode = mode
        self.keep = keep
        self.dirpath = dirpath
        self._candidates: dict[int, Candidate] = {}  # by epoch; only of validated epochs that are still on the disk
        self._validated = False  # in the present epoch
        self.last_step: int | None = None  # optimizer steps in last.ckpt, if it is of this run

    @property
    def best_epoch(self) -> int | None:
        """The epoch that is chosen; None while there is no score."""
        return list(self._candidates)[self._choice().index] if self._candidates else None

    @property
    def best_model_path(self) -> str:
        """The path of best.ckpt, empty while there is none; Lightning reads it for `ckpt_path="best"`."""
        return "" if self.best_epoch is None else str(self._folder / "best.ckpt")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder."""
        if self.dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget restored epochs whose files are not here, as when the run resumes in another folder; sweep up."""
        if self._is_of_validation and not trainer.enable_validation:
            raise ConfigError(
                f"checkpoints: monitor is {self.monitor!r}, but there is no validation: "
                "set limit_val_batches above 0, or monitor a metric of training"
            )
        best = self.best_epoch
        here: set[int | None] = {each for each in self._candidates if each == best or self._path(each).exists()}
        if best is not None and not Path(self.best_model_path).exists():
            logger.warning("%s is missing: the best epoch is chosen among new ones", self.best_model_path)
            here = set()
        self._keep_candidates(trainer.strategy.broadcast(here))
        resumed = trainer.ckpt_path
        if resumed and Path(resumed).resolve() == self._last.resolve():
            self.last_step = trainer.global_step
        if trainer.is_global_zero:
            for name in ("epoch-*.ckpt", "best.ckpt", "last.ckpt"):
                for leftover in self._folder.glob(part_of(Path(name)).name):
                    leftover.unlink()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open an epoch: it has no score yet."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has a score, and fail early where the monitored metric does not exist."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated = True
        if self._is_of_validation:  # a metric of training appears at the end of the epoch only
            self._score(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save this epoch and drop the ones that are neither among the best nor the newest."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # Lightning sets it outside the class
            return
        epoch, held = trainer.current_epoch, self.best_epoch
        score = self._score(trainer) if self._validated or not self._is_of_validation else math.nan
        if not math.isnan(score):
            self._candidates[epoch] = self._candidate(score, pl_module)
        best, kept = self.best_epoch, self._kept(epoch)
        trainer.save_checkpoint(self._path(epoch), weights_only=True)
        if trainer.is_global_zero and best is not None and best != held:
            _link(self._path(best), self._folder / "best.ckpt")
        self._keep_candidates({best, *kept})
        self._save_last(trainer)
        if trainer.is_global_zero:
            for dropped in set(range(epoch)) - kept:
                self._path(dropped).unlink(missing_ok=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the place in the epoch where a signal ended the fit between two steps."""
        if isinstance(exception, SIGTERMException) and trainer.training and self._is_between_steps(trainer):
            self._save_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which epoch was chosen, and why."""
        if self._candidates and trainer.is_global_zero:
            choice = self._choice()
            logger.info("best.ckpt is epoch %d, %s", self.best_epoch, choice.verdicts[choice.index])

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the epochs to choose from, in plain types."""
        return {"scores": {str(epoch): each.to_plain() for epoch, each in self._candidates.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the candidates of the run that is resumed; early versions stored the score alone."""
        self._candidates = {
            int(epoch): Candidate(**plain) if isinstance(plain, dict) else self._by_score(plain)
            for epoch, plain in state_dict["scores"].items()
        }

    @property
    def _folder(self) -> Path:
        return Path(self.dirpath or "")  # settled in `setup`

    @property
    def _last(self) -> Path:
        return self._folder / "last.ckpt"

    def _save_last(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._last, weights_only=False)
        self.last_step = trainer.global_step

    @staticmethod
    def _is_between_steps(trainer: Trainer) -> bool:
        """Tell whether an epoch is neither at its start nor at its end, and no batch and no gradient is pending."""
        batches = trainer.fit_loop.epoch_loop.batch_progress.current
        whole = batches.ready == batches.completed and batches.completed % trainer.accumulate_grad_batches == 0
        return whole and 0 < batches.completed < trainer.num_training_batches

    @property
    def _is_of_validation(self) -> bool:
        return self.monitor.startswith("val")

    def _score(self, trainer: Trainer) -> float:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            names = ", ".join(sorted(metrics)) or "none"
            raise ConfigError(f"checkpoints: monitor is {self.monitor!r}, but the logged metrics are: {names}")
        return float(metrics[self.monitor])

    def _candidate(self, score: float, module: LightningModule) -> Candidate:
        if self.monitor != MAP or self.mode != "max" or not isinstance(module, ScoredModule):
            return self._by_score(score)
        records, names = module.last_records["val"], module.val_map.class_names
        if module.calibrated is None:
            return Candidate(score, bootstrap_map(records, len(names)).map.error)
        return Candidate.measure(records, names, Calibration.from_plain(module.calibrated))

    def _by_score(self, score: float) -> Candidate:
        return Candidate(score if self.mode == "max" else -score)

    def _keep_candidates(self, epochs: set[int | None]) -> None:
        self._candidates = {epoch: each for epoch, each in self._candidates.items() if epoch in epochs}

    def _choice(self) -> Choice:
        return choose(list(self._candidates.values()))

    def _kept(self, newest: int) -> set[int]:
        """Return the epochs whose files stay: the newest, the chosen and the best of the others."""
        chosen = self.best_epoch
        others = sorted(self._candidates, key=lambda each: (each != chosen, -self._candidates[each].score))
        return {newest, *[each for each in others if each != newest][: self.keep - 1]}

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:02d}.ckpt"


def _link(source: Path, target: Path) -> None:
    with replacing(target, sync=True) as part:
        try:
            os.link(source, part)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, part)
