import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.over_detection import over_detection_names
from gdino_lightning.training.callbacks.results import Curves, ResultsPlot, plot_results
from gdino_lightning.training.metrics_csv import MetricsCSVLogger

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders


def write_run(folder: Path) -> Path:
    logger = MetricsCSVLogger(folder)
    logger.log_metrics({"val/map": 0.05, "val/map/a": -1.0, "epoch": 0}, step=0)  # zero-shot
    logger.log_metrics({"lr-AdamW/head": 1e-4}, step=0)
    for epoch, score in enumerate([0.3, 0.6, 0.6, 0.5]):
        step = 10 * epoch + 9
        logger.log_metrics({"train/loss": 5.0 - epoch, "train/loss_ce": 1.0, "epoch": epoch}, step=step)
        logger.log_metrics({"val/map": score, "val/map/a": score, "val/loss": 4.0, "epoch": epoch}, step=step)
    logger.log_metrics({"test/map": 0.9, "epoch": 0}, step=0)
    return logger.path


def test_curves_leave_out_the_zero_shot_row_and_find_the_highest_map(tmp_path: Path) -> None:
    curves = Curves.read(write_run(tmp_path))
    assert curves.of("val/map") == {9: 0.3, 19: 0.6, 29: 0.6, 39: 0.5}
    assert curves.of("train/loss") == {9: 5.0, 19: 4.0, 29: 3.0, 39: 2.0}
    assert curves.of("lr-AdamW/head") == {0: 1e-4}
    assert curves.zero_shot["val/map"] == "0.05"
    assert curves.highest() == ("1", 19, 0.6)


def test_a_run_without_zero_shot_row_and_without_scores(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=3)
    assert Curves.read(logger.path).highest() is None
    logger.log_metrics({"val/map": 0.3, "epoch": 0}, step=3)
    curves = Curves.read(logger.path)
    assert curves.zero_shot == {}
    assert curves.highest() == ("0", 3, 0.3)


def test_only_a_score_before_any_training_is_zero_shot(tmp_path: Path) -> None:
    """Epochs of one step end at step 0 too; their scores share a row with the step, as the zero-shot one may."""
    for folder, before in (("a", []), ("b", [{"lr-AdamW/head": 1e-4}]), ("c", [{"train/loss": 1.0, "epoch": 0}])):
        logger = MetricsCSVLogger(tmp_path / folder)
        for metrics in [*before, {"val/map": 0.2, "epoch": 0}, {"train/loss": 1.0, "epoch": 0}]:
            logger.log_metrics(metrics, step=0)
        curves = Curves.read(logger.path)
        assert curves.zero_shot.get("val/map") == (None if before else "0.2")
        assert curves.of("val/map") == ({0: 0.2} if before else {})


def test_of_a_point_that_is_scored_again_the_later_score_counts(tmp_path: Path) -> None:
    table = write_run(tmp_path)
    again = MetricsCSVLogger(tmp_path)  # as `validate` of the checkpoints of epochs 1 and 0 adds it
    again.log_metrics({"val/map": 0.45, "epoch": 1.0}, step=19)
    assert Curves.read(table).of("val/map") == {9: 0.3, 19: 0.45, 29: 0.6, 39: 0.5}
    assert Curves.read(table).highest() == ("2", 29, 0.6)
    again.log_metrics({"val/map": 0.7, "epoch": 0.0}, step=9)
    assert Curves.read(table).highest() == ("0", 9, 0.7)
    assert Curves.read(table).zero_shot["val/map"] == "0.05"


def test_repeated_steps_show_the_resumed_run_and_minus_one_is_a_gap(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        MetricsCSVLogger(tmp_path).log_metrics({"train/loss": value, "val/map/a": -1.0}, step=5)
    curves = Curves.read(tmp_path / "metrics.csv")
    assert curves.of("train/loss") == {5: 2.0}
    assert math.isnan(curves.of("val/map/a")[5])


def test_over_detection_is_a_curve_with_gaps_where_nothing_is_measured(tmp_path: Path) -> None:
    logger = MetricsCSVLogger(tmp_path)
    logger.log_metrics({"val/map": 0.1, "val/over/hit_score": 0.4, "epoch": 0}, step=0)  # zero-shot
    for step, value in ((9, 0.5), (19, -1.0)):
        logger.log_metrics({"val/map": 0.2, "val/over/hit_score": value, "epoch": step // 10}, step=step)
    curve = Curves.read(logger.path).of("val/over/hit_score")
    assert curve[9] == 0.5
    assert math.isnan(curve[19])
    assert list(curve) == [9, 19]


def test_over_detection_is_drawn_in_panels_of_its_own(tmp_path: Path) -> None:
    """Lines appear in the lower half of the picture, and only where there is something to measure."""

    def lower_half(folder: Path, value: float) -> np.ndarray:
        logger = MetricsCSVLogger(folder)
        for epoch in range(4):
            metrics = {f"val/{key}": value for key in over_detection_names(["a", "b"])}
            logger.log_metrics({"val/map": 0.5, **metrics, "epoch": epoch}, step=10 * epoch + 9)
        plot_results(logger.path, folder / "results.png")
        image = cv2.imread(str(folder / "results.png")).astype(int)
        return image[len(image) // 2 :]

    measured, undefined = (lower_half(tmp_path / name, value) for name, value in (("a", 0.5), ("b", -1.0)))
    assert (np.ptp(measured, axis=2) > 60).sum() > 1000
    assert (np.ptp(undefined, axis=2) > 60).sum() == 0


def test_the_reference_is_a_curve_with_a_start_and_is_drawn(tmp_path: Path) -> None:
    pictures = []
    for folder, measured in ((tmp_path / "a", {}), (tmp_path / "b", {"val/reference/map": 0.9})):
        logger = MetricsCSVLogger(folder)
        for epoch, step in ((0, 0), (0, 9), (1, 19)):
            logger.log_metrics({**measured, "val/map": 0.2, "epoch": epoch}, step=step)
        plot_results(logger.path, folder / "results.png")
        pictures.append(cv2.imread(str(folder / "results.png")).astype(int))
    curves = Curves.read(tmp_path / "b" / "metrics.csv")
    assert curves.zero_shot["val/reference/map"] == "0.9"
    assert curves.of("val/reference/map") == {9: 0.9, 19: 0.9}
    assert np.abs(pictures[0] - pictures[1]).sum() > 0


def test_the_plot_shows_more_where_more_was_logged(tmp_path: Path) -> None:
    plot_results(write_run(tmp_path), tmp_path / "report" / "results.png")
    few = MetricsCSVLogger(tmp_path / "few")
    few.log_metrics({"train/loss": 1.0, "epoch": 0}, step=3)
    plot_results(few.path, tmp_path / "few.png")
    full = cv2.imread(str(tmp_path / "report" / "results.png"))
    sparse = cv2.imread(str(tmp_path / "few.png"))
    assert full.shape == sparse.shape == (1600, 1500, 3)

    def coloured(image: np.ndarray) -> int:
        return int((np.ptp(image.astype(int), axis=2) > 60).sum())

    assert coloured(full) > 2 * coloured(sparse) > 0


class Toy(LightningModule):
    """Logs a loss; fails in a given epoch."""

    def __init__(self, fails_in: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fails_in = fails_in

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == self.fails_in:
            raise FloatingPointError("loss is not finite")
        loss = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, module: Toy, **settings: object) -> None:
    torch.set_num_threads(1)
    options = {"logger": MetricsCSVLogger(folder), **settings}
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[ResultsPlot()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(4, 1))))


def test_fit_ends_with_a_plot(tmp_path: Path) -> None:
    fit(tmp_path, Toy())
    assert (tmp_path / "report" / "results.png").stat().st_size > 0


def test_a_failed_fit_ends_with_a_plot_and_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="not finite"):
        fit(tmp_path, Toy(fails_in=1))
    assert (tmp_path / "report" / "results.png").exists()


def test_a_fit_that_fails_at_once_draws_nothing(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        fit(tmp_path, Toy(fails_in=0))
    assert not (tmp_path / "report").exists()


def test_without_the_table_it_fails_before_training_except_in_a_dry_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MetricsCSVLogger"):
        fit(tmp_path, Toy(), logger=False)
    fit(tmp_path, Toy(), logger=False, fast_dev_run=True)
    assert not (tmp_path / "report").exists()
