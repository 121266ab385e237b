"""Thresholds with every checkpoint: each validation of a fit chooses the working point of its epoch."""

import logging
import math
from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from gdino_lightning.evaluation.calibration import EVIDENCE, Calibration, calibrate, check_settings
from gdino_lightning.model.pretrained import CHECKPOINT_KEY, read_checkpoint
from gdino_lightning.training.scored import ScoredModule

logger = logging.getLogger(__name__)


class Calibrate(Callback):
    """Chooses score thresholds, NMS overlaps and the temperature on each validation of a fit, and never elsewhere.

    They go into the checkpoint of the epoch, so whichever is chosen later has its own; an epoch without a validation
    has none. When the fit ends, those of best.ckpt are written to thresholds.json in the trainer's `default_root_dir`.

    Args:
        min_boxes: a class with fewer validation boxes gets the thresholds of all classes pooled.
        precision: wanted precision of each class; null: the best F1, where it is clearly better than that of the usual
            thresholds, .35 and .5.
        evidence: standard errors by which it has to be better; 0: the best F1 in any case.

    Raises:
        ConfigError: `min_boxes`, `precision` or `evidence` is out of range.
    """

    def __init__(self, min_boxes: int = 30, precision: float | None = None, evidence: float = EVIDENCE) -> None:
        super().__init__()
        check_settings(min_boxes, precision, evidence)
        self.min_boxes = min_boxes
        self.precision = precision
        self.evidence = evidence

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the thresholds of other weights."""
        cast(ScoredModule, pl_module).calibrated = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate before the module scores this validation, so that its scores are those at the new thresholds."""
        partial = trainer.sanity_checking and not math.isinf(trainer.num_sanity_val_steps)
        if trainer.state.fn != TrainerFn.FITTING or partial:
            return
        module = cast(ScoredModule, pl_module)
        records, names = module.val_map.records(), module.val_map.class_names
        found = calibrate(records, names, min_boxes=self.min_boxes, precision=self.precision, evidence=self.evidence)
        module.calibrated = found.to_plain()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write thresholds.json, also where a resumed run finds that all epochs are done."""
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write thresholds.json where an epoch was finished before the fit was interrupted or failed."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        best = Path(getattr(trainer.checkpoint_callback, "best_model_path", ""))
        if not trainer.is_global_zero or not best.is_file():
            return
        plain = read_checkpoint(best)[CHECKPOINT_KEY]["thresholds"]
        if plain is None:
            logger.warning("%s: its epoch had no validation, so it has no thresholds", best)
            return
        found = Calibration.from_plain(plain)
        found.save(Path(trainer.default_root_dir))
        logger.info("thresholds of %s, chosen on validation:\n%s", best, found.table())
