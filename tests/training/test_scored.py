"""What is scored after validation and test, on a module whose detections are given."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from ranks import on_ranks
from torch import Tensor
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Target
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.training.callbacks.early_stopping import GuardedEarlyStopping
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.scored import ScoredModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
PICTURES = 5
BOX = (0, 0, 10, 10)
SIZE = 100


class Toy(ScoredModule):
    """Finds the one object of each picture and, in picture i of epoch e, i * e wrong boxes, at the score .5."""

    def __init__(self) -> None:
        super().__init__(["face", "mask"])
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch[:, None].float()).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.val_map.update(*zip(*(picture(index, self.current_epoch) for index in batch.tolist()), strict=True))

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.test_map.update(*zip(*(picture(index, 1) for index in batch.tolist()), strict=True))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def picture(index: int, epoch: int) -> tuple[Detections, Target]:
    truth = torch.tensor([BOX], dtype=torch.float32)
    wrong = [(20 * i, 50, 20 * i + 10, 60) for i in range(index * epoch)]
    boxes = torch.tensor([BOX, *wrong], dtype=torch.float32)
    scores = torch.tensor([0.9] + [0.5] * len(wrong))
    found = Detections(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64))
    return found, Target(index, f"{index}.png", SIZE, SIZE, truth / SIZE, torch.tensor([0]), truth)


def trainer(folder: Path, **settings: object) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 3,
            "logger": MetricsCSVLogger(folder),
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": -1,
            **settings,
        }
    )


def pictures() -> DataLoader:
    return DataLoader(range(PICTURES), batch_size=2)


def column(folder: Path, key: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) if row[key]]


def test_over_detection_of_every_epoch_is_logged_after_that_before_the_first_step(tmp_path):
    module = Toy()
    trainer(tmp_path).fit(module, pictures(), pictures())
    wrong = sum(range(PICTURES))  # in an epoch, times its number
    expected = [(PICTURES + wrong * epoch) / PICTURES for epoch in (0, 0, 1, 2)]
    assert column(tmp_path, "val/over/boxes_per_object") == pytest.approx(expected)
    assert column(tmp_path, "val/over/boxes_per_object/face") == pytest.approx(expected)
    assert column(tmp_path, "val/over/boxes_per_object/mask") == [-1] * 4
    assert column(tmp_path, "val/over/false_positives") == pytest.approx([wrong * e / PICTURES for e in (0, 0, 1, 2)])
    assert column(tmp_path, "val/over/hit_score") == pytest.approx([0.9] * 4)
    assert column(tmp_path, "val/over/miss_score") == pytest.approx([-1, -1, 0.5, 0.5])
    assert column(tmp_path, "val/map") == pytest.approx([1, 1, 1, 1])  # it sees nothing of this
    assert [len(record.labels) for record in module.last_records["val"]] == [1 + 2 * i for i in range(PICTURES)]


def test_a_test_is_measured_at_the_working_point_of_the_model(tmp_path):
    module = Toy()
    (fixed,) = trainer(tmp_path).test(module, pictures(), verbose=False)
    assert fixed["test/over/false_positives"] == pytest.approx(sum(range(PICTURES)) / PICTURES)
    module.calibrated = Thresholds.fixed(2, score=0.6).to_plain()
    (calibrated,) = trainer(tmp_path).test(module, pictures(), verbose=False)
    assert calibrated["test/over/false_positives"] == 0
    assert [len(record.labels) for record in module.last_records["test"]] == [1 + i for i in range(PICTURES)]


def test_early_stopping_watches_over_detection(tmp_path, caplog):
    module = Toy()
    guard = GuardedEarlyStopping("val/over/boxes_per_object", mode="min")
    assert guard.monitor in module.metric_names()
    run = trainer(tmp_path, max_epochs=9, callbacks=[guard])
    run.fit(module, pictures(), pictures())
    assert guard.stopped_epoch == 1
    assert "val/over/boxes_per_object collapsed to 3.000, 200% worse than its best, 1.000" in caplog.text


def _score_on_two(rank: int, folder: Path) -> tuple[dict[str, float], list[int]]:
    module = Toy()
    run = trainer(folder, strategy="ddp", devices=2, max_epochs=2, logger=False)
    run.fit(module, pictures(), pictures())
    values = {name: float(value) for name, value in run.callback_metrics.items()}
    ids = [record.image_id for record in module.last_records["val"]]
    return values, ids


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_score_what_one_does(tmp_path):
    run = trainer(tmp_path, max_epochs=2, logger=False)
    run.fit(Toy(), pictures(), pictures())
    alone = {name: float(value) for name, value in run.callback_metrics.items()}
    for values, ids in on_ranks(_score_on_two, tmp_path):
        assert ids == list(range(PICTURES))
        assert values == pytest.approx(alone)
