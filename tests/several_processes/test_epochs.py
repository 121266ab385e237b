"""A training epoch and its validation on two ranks: scores, thresholds and detections are those of one process."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer, seed_everything
from prepared_factory import write_split
from ranks import ONE, TWO, on_ranks

from gdino_lightning.evaluation.calibration import calibrate
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.training.callbacks import Calibrate, EpochCheckpoints
from gdino_lightning.training.module import GroundingDinoModule
from tests.several_processes.test_one_step import CLASSES, QUIET, boxes_of, data_of

COUNTS = [1, 2, 7, 253]  # pictures of the validation; of the training as many, at most 7
PICTURES_A_BATCH = 11  # 253 make 23 batches, which two ranks cannot share evenly


@dataclass
class Epoch:
    """A validation: what was logged, what was seen, how many pictures the rank itself looked at, and the thresholds."""

    scores: dict[str, float]
    records: list[PictureRecord]
    looked_at: int
    thresholds: dict[str, object] | None


class Counted(GroundingDinoModule):
    """Counts the pictures that pass by."""

    looked_at = 0

    def validation_step(self, batch, batch_idx):
        self.looked_at += len(batch.targets)
        return super().validation_step(batch, batch_idx)


def epoch_of(module: Counted, trainer: Trainer) -> Epoch:
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return Epoch(
        {name: value for name, value in scores.items() if name.startswith("val/") and "loss" not in name},
        module.last_records["val"],
        module.looked_at,
        module.calibrated,
    )


def _fit(rank: int, folder: Path) -> list[Epoch]:
    seen = []
    for count in COUNTS:
        seed_everything(0)
        module = Counted(CLASSES, warmup_steps=0, learning_rate=1e-3, freeze=[])
        callbacks = [Calibrate(min_boxes=5), EpochCheckpoints()]
        off = {**QUIET, "enable_checkpointing": True}
        run = {"default_root_dir": folder / f"run{count}", "num_sanity_val_steps": 0, "max_epochs": 1}
        trainer = Trainer(callbacks=callbacks, **off, **run, **TWO)
        trainer.fit(module, data_of(folder / str(count), batch_size=2, eval_batch_size=PICTURES_A_BATCH))
        seen.append(epoch_of(module, trainer))
    return seen


def validated_alone(folder: Path, count: int) -> Epoch:
    """The same weights scored by one process, and calibrated on what it saw."""
    weights = folder / f"run{count}" / "checkpoints" / "last.ckpt"
    module = Counted.load_from_checkpoint(weights, weights_only=True)
    trainer = Trainer(**QUIET, **ONE)
    trainer.validate(module, data_of(folder / str(count), eval_batch_size=PICTURES_A_BATCH), verbose=False)
    alone = epoch_of(module, trainer)
    alone.thresholds = calibrate(alone.records, list(CLASSES), min_boxes=5).to_plain()
    return alone


def same_records(ours: list[PictureRecord], theirs: list[PictureRecord]) -> bool:
    arrays = ("truth_boxes", "truth_labels", "boxes", "scores", "labels")
    return all(
        a.image_id == b.image_id and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.slow
def test_one_picture_to_253_are_trained_on_and_scored_on_two_ranks_as_on_one(tmp_path):
    for count in COUNTS:
        train = {f"{i}.png": boxes_of(i % 4) for i in range(1, 1 + min(count, 7))}
        write_split(tmp_path / str(count) / "train", train)
        write_split(tmp_path / str(count) / "test", {f"{i}.png": boxes_of(i % 9) for i in range(1, 1 + count)})
    for count, *ranks in zip(COUNTS, *on_ranks(_fit, tmp_path, seconds=400), strict=True):
        alone = validated_alone(tmp_path, count)
        assert [record.image_id for record in alone.records] == list(range(count))
        assert alone.scores["val/map"] >= 0
        assert {"val/over/boxes_per_object", "val/map/cat"} <= alone.scores.keys()
        # a batch too few is dealt to a rank as well: 22 batches of 11 and one more, or the only one
        assert sum(rank.looked_at for rank in ranks) == (264 if count == 253 else 2 * count)
        for rank in ranks:
            assert same_records(rank.records, alone.records)
            assert rank.scores == pytest.approx(alone.scores, abs=1e-9, rel=0)
            assert rank.thresholds == alone.thresholds
        shutil.rmtree(tmp_path / f"run{count}")
