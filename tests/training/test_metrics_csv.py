import csv
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from gdino_lightning.errors import CheckpointError
from gdino_lightning.training.metrics_csv import MetricsCSVLogger, read_metrics


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_for_one_step_is_one_row(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path)
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=9)
    logger.log_metrics({"val/map": 0.5, "epoch": 0}, step=9)
    logger.log_metrics({"lr": 0.1}, step=9)
    logger.log_metrics({"train/loss": 1.5, "epoch": 1}, step=19)
    assert rows_of(tmp_path) == [
        {"epoch": "0", "step": "9", "train/loss": "2.0", "val/map": "0.5", "lr": "0.1"},
        {"epoch": "1", "step": "19", "train/loss": "1.5", "val/map": "", "lr": ""},
    ]


def test_a_value_that_the_row_has_starts_a_new_row(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path)
    for value in (0.1, 0.2):
        logger.log_metrics({"val/map": value, "epoch": 0}, step=0)
    logger.log_metrics({"val/map": 0.3, "epoch": 1}, step=0)
    assert [row["val/map"] for row in rows_of(tmp_path)] == ["0.1", "0.2", "0.3"]


def test_numbers_read_back_equal(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1e-300, 1 / 3, -1.0, float("inf"), float("nan"), 123456789.123456789]
    logger = MetricsCSVLogger(tmp_path)
    for step, number in enumerate(numbers):
        logger.log_metrics({"a": number, "b": torch.tensor(number, dtype=torch.float64), "n": 7}, step=step)
    for row, number in zip(rows_of(tmp_path), numbers, strict=True):
        assert repr(float(row["a"])) == repr(float(row["b"])) == repr(number)
        assert row["n"] == "7"


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    name = 'val/map/a, "b"\nc é'
    logger = MetricsCSVLogger(tmp_path)
    logger.log_metrics({name: 1.0}, step=0)
    logger.log_metrics({name: 2.0}, step=1)
    assert [row[name] for row in rows_of(tmp_path)] == ["1.0", "2.0"]


def test_a_second_session_appends_and_adds_columns(tmp_path: Path) -> None:
    first = MetricsCSVLogger(tmp_path)
    first.log_metrics({"train/loss": 2.0, "epoch": 0}, step=5)
    before = (tmp_path / "metrics.csv").read_text()
    second = MetricsCSVLogger(tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == before  # making a logger touches nothing
    second.log_metrics({"test/map": 0.4, "epoch": 0}, step=5)  # the same step, but another session's row
    second.log_metrics({"test/map": 0.5, "epoch": 1}, step=6)
    assert rows_of(tmp_path) == [
        {"epoch": "0", "step": "5", "train/loss": "2.0", "test/map": ""},
        {"epoch": "0", "step": "5", "train/loss": "", "test/map": "0.4"},
        {"epoch": "1", "step": "6", "train/loss": "", "test/map": "0.5"},
    ]


def test_a_row_cut_by_a_crash_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,1,0.5\n0,2")
    MetricsCSVLogger(tmp_path).log_metrics({"a": 0.25, "epoch": 0}, step=3)
    assert [(row["step"], row["a"]) for row in rows_of(tmp_path)] == [("1", "0.5"), ("2", ""), ("3", "0.25")]


def test_a_crash_while_a_column_is_added_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MetricsCSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)
    before = (tmp_path / "metrics.csv").read_bytes()

    def crash(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        logger.log_metrics({"b": 1.0}, step=1)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_read_metrics_leaves_out_what_was_not_logged(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == ([], [])
    MetricsCSVLogger(tmp_path).log_metrics({"a": 1.0}, step=0)
    columns, rows = read_metrics(tmp_path / "metrics.csv")
    assert columns == ["epoch", "step", "a"]
    assert rows == [{"step": "0", "a": "1.0"}]


class Line(LightningModule):
    """One weight that learns a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return (self.layer(batch[0]) - 1).square().mean()

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self.log("val/loss", self.loss(batch))

    def test_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("test/loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_in(folder: Path, max_epochs: int) -> Trainer:
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=MetricsCSVLogger(folder),
        log_every_n_steps=2,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers
def test_fit_resume_and_test_keep_all_rows(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    loader = DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2)
    first = trainer_in(tmp_path, 2)
    first.fit(Line(), loader, loader)
    first.save_checkpoint(tmp_path / "last.ckpt")
    before = rows_of(tmp_path)
    second = trainer_in(tmp_path, 4)
    second.fit(Line(), loader, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    trainer_in(tmp_path, 4).test(Line(), loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True, verbose=False)

    table = pd.read_csv(tmp_path / "metrics.csv")
    assert len(before) == 4
    assert table["step"].tolist() == [1, 3, 5, 7, 9, 11, 13, 15, 0]
    assert table["epoch"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]
    for old, new in zip(before, rows_of(tmp_path), strict=False):
        assert old == {key: new[key] for key in old}
    assert table["val/loss"].notna().tolist() == [False, True] * 4 + [False]
    assert table["train/loss"].notna().tolist() == [True] * 8 + [False]
    assert table["test/loss"].notna().tolist() == [False] * 8 + [True]
    assert table["val/loss"].dropna().is_monotonic_decreasing


def test_what_a_killed_run_logged_and_its_resumed_one_logs_again_is_there_once(tmp_path: Path) -> None:
    def log(steps: range, *, whole: bool = True) -> None:
        logger = MetricsCSVLogger(tmp_path, once=True)
        for step in steps:
            logger.log_metrics({"lr": 0.1}, step=step)
            if whole or step != steps[-1]:
                logger.log_metrics({"train/loss": 1 / (1 + step), "epoch": 0}, step=step)

    log(range(6))
    straight = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").unlink()
    log(range(4), whole=False)  # killed in the middle of a row
    log(range(2, 6))
    assert (tmp_path / "metrics.csv").read_bytes() == straight


def test_another_value_at_a_step_that_was_logged_is_a_row_of_its_own(tmp_path: Path) -> None:
    for loss in (1.0, 1.0, 1.1):
        MetricsCSVLogger(tmp_path, once=True).log_metrics({"train/loss": loss, "epoch": 0}, step=5)
    assert [row["train/loss"] for row in rows_of(tmp_path)] == ["1.0", "1.1"]


@pytest.mark.parametrize("data", [b"\xff", b'epoch\n"' + b"9" * 200_000])
def test_a_damaged_table_is_named_and_kept(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"metrics\.csv: damaged"):
        MetricsCSVLogger(tmp_path).log_metrics({"a": 1.0}, step=1)
    assert (tmp_path / "metrics.csv").read_bytes() == data
