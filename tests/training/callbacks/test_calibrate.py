import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from gdino_lightning.data.batch import Target
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.calibration import Calibration, calibrate
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.pretrained import CHECKPOINT_KEY
from gdino_lightning.training.callbacks import Calibrate, EpochCheckpoints
from gdino_lightning.training.scored import ScoredModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
BOXES = torch.tensor([[0.0, 0, 40, 40], [50, 50, 90, 90], [20, 60, 45, 95]])
LABELS = torch.tensor([0, 1, 0])


class Finder(ScoredModule):
    """Finds two boxes and one that is not there; its scores sink with the steps, so every epoch has its own."""

    def __init__(self, fails_in: int | None = None) -> None:
        super().__init__(["a", "b"])
        self.layer = torch.nn.Linear(1, 1)
        self.fails_in = fails_in

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == self.fails_in:
            raise FloatingPointError("loss is not finite")
        return self.layer(batch[0]).square().mean()

    def scores(self, epoch: int) -> torch.Tensor:
        return torch.tensor([0.9, 0.8, 0.3]) - 0.1 * epoch

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        target = Target(batch_idx, "x.png", 100, 100, BOXES[:2] / 100, LABELS[:2], BOXES[:2])
        metric = self.test_map if self.trainer.testing else self.val_map
        metric.update([Detections(BOXES, self.scores(self.current_epoch), LABELS)], [target])

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint[CHECKPOINT_KEY] = {"thresholds": self.calibrated}


def loader() -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(40, 1)), batch_size=1)


def trainer_in(folder: Path, *callbacks: object, **settings: object) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": list(callbacks) or [Calibrate(evidence=0), EpochCheckpoints()],
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "limit_train_batches": 1,
            "max_epochs": 3,
            "num_sanity_val_steps": 0,
            **settings,
        }
    )


def stored(folder: Path, name: str) -> dict | None:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)[CHECKPOINT_KEY]["thresholds"]


def expected(scores: list[float], **settings: object) -> Calibration:
    found = (BOXES.numpy(), np.array(scores, np.float32), LABELS.numpy())
    records = [PictureRecord(number, BOXES[:2].numpy(), LABELS[:2].numpy(), *found) for number in range(40)]
    return calibrate(records, ["a", "b"], **{"evidence": 0, **settings})


def test_each_checkpoint_has_the_thresholds_of_its_own_validation(tmp_path):
    trainer_in(tmp_path).fit(Finder(), loader(), loader())
    for epoch in range(3):
        plain = stored(tmp_path, f"epoch-{epoch:02d}")
        thresholds = Calibration.from_plain(plain).thresholds
        assert thresholds.scores == pytest.approx((0.6 - 0.1 * epoch, 0.8 - 0.1 * epoch))  # half way, and the lowest
        assert Calibration.from_plain(plain).classes[1].f1 == 1
    assert stored(tmp_path, "last") == stored(tmp_path, "epoch-02")


def test_thresholds_json_holds_those_of_the_best_checkpoint(tmp_path):
    trainer_in(tmp_path).fit(Finder(), loader(), loader())
    written = Calibration.from_plain(json.loads((tmp_path / "thresholds.json").read_text()))
    assert written == Calibration.from_plain(stored(tmp_path, "best"))
    assert written == expected([0.9, 0.8, 0.3])  # all epochs find the same, the first one wins


def test_the_scores_of_a_validation_are_those_at_its_own_thresholds(tmp_path):
    seen = []

    class Note(EpochCheckpoints):
        def on_validation_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
            super().on_validation_end(trainer, pl_module)
            seen.append(float(trainer.callback_metrics["val/working/f1"]))

    trainer_in(tmp_path, Calibrate(), Note()).fit(Finder(), loader(), loader())
    assert seen == [1, 1, 1]


def test_an_epoch_without_validation_has_no_thresholds(tmp_path):
    trainer_in(tmp_path, check_val_every_n_epoch=2).fit(Finder(), loader(), loader())
    assert stored(tmp_path, "epoch-01") is not None
    assert stored(tmp_path, "last") is None


def test_only_a_fit_calibrates(tmp_path):
    module = Finder()
    trainer = trainer_in(tmp_path)
    trainer.validate(module, loader(), verbose=False)
    trainer.test(module, loader(), verbose=False)
    assert module.calibrated is None
    assert module.thresholds is None
    assert not (tmp_path / "thresholds.json").exists()


@pytest.mark.parametrize(("steps", "calibrated"), [(2, False), (-1, True)])
def test_a_whole_sanity_check_calibrates_the_model_before_training_and_a_partial_one_does_not(
    tmp_path, steps, calibrated
):
    seen = []

    class Note(Calibrate):
        def on_train_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
            seen.append(pl_module.calibrated is not None)

    trainer_in(tmp_path, Note(), num_sanity_val_steps=steps, max_epochs=1).fit(Finder(), loader(), loader())
    assert seen == [calibrated]


def test_a_fit_that_fails_leaves_the_thresholds_of_its_best_epoch(tmp_path):
    with pytest.raises(FloatingPointError):
        trainer_in(tmp_path).fit(Finder(fails_in=1), loader(), loader())
    written = json.loads((tmp_path / "thresholds.json").read_text())
    assert Calibration.from_plain(written) == expected([0.9, 0.8, 0.3])


def test_the_settings_arrive_and_wrong_ones_are_refused_at_once(tmp_path):
    callbacks = (Calibrate(min_boxes=41, precision=0.9, evidence=3), EpochCheckpoints())
    trainer_in(tmp_path, *callbacks, max_epochs=1).fit(Finder(), loader(), loader())
    written = Calibration.from_plain(json.loads((tmp_path / "thresholds.json").read_text()))
    assert written == expected([0.9, 0.8, 0.3], min_boxes=41, precision=0.9, evidence=3)
    assert written.pooled == ["a", "b"]
    with pytest.raises(ConfigError, match="precision"):
        Calibrate(precision=80)
