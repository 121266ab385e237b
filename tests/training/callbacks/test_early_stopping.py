"""Early stopping in a real Trainer, on a module whose validation scores are given."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from gdino_lightning.errors import ConfigError
from gdino_lightning.training.callbacks.checkpoints import EpochCheckpoints
from gdino_lightning.training.callbacks.early_stopping import GuardedEarlyStopping

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
NAN = float("nan")


class Toy(LightningModule):
    """Logs one given value for each epoch; notes the epochs that it trains."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.values = values
        self.epochs: list[int] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.epochs.append(self.current_epoch)
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        value = torch.tensor(99.0 if self.trainer.sanity_checking else self.values[self.current_epoch])
        self.log_dict({"val/map": value, "val/over/boxes_per_object": value})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(
    folder: Path,
    values: Sequence[float],
    *guards: GuardedEarlyStopping,
    resume: bool = False,
    max_epochs: int | None = None,
    **settings: object,
) -> list[int]:
    """Train for at most one epoch a value; return the epochs trained."""
    torch.set_num_threads(1)
    trainer = Trainer(
        max_epochs=max_epochs or len(values),
        accelerator="cpu",
        logger=False,
        callbacks=[*guards, EpochCheckpoints()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    module = Toy(values)
    loader = DataLoader(TensorDataset(torch.ones(1, 1)))
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(module, loader, loader, ckpt_path=last if resume else None, weights_only=True if resume else None)
    return module.epochs


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that this callback logged."""
    (record,) = [each for each in caplog.records if each.name.endswith("early_stopping")]
    assert record.levelno == logging.WARNING
    return record.getMessage()


def test_the_collapse_of_the_published_model_stops_the_run_and_is_named(tmp_path, caplog):
    guard = GuardedEarlyStopping()
    assert fit(tmp_path, [0.52, 0.55, 0.557, 0.54, 0.441, 0.9], guard) == [0, 1, 2, 3, 4]
    assert said(caplog).startswith(
        "stopped in epoch 4: val/map collapsed to 0.441, 21% worse than its best, 0.557 (allowed: 20%)"
    )
    assert guard.stopped_epoch == 4
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 2


def test_a_drop_within_the_share_costs_patience_only(tmp_path, caplog):
    assert fit(tmp_path, [0.5, 0.41, 0.6, 0.49, 0.61], GuardedEarlyStopping(patience=2)) == [0, 1, 2, 3, 4]
    assert not [each for each in caplog.records if each.name.endswith("early_stopping")]


def test_the_share_is_of_the_best_and_not_of_the_epoch_before(tmp_path, caplog):
    assert fit(tmp_path, [0.5, 0.45, 0.42, 0.39, 0.38], GuardedEarlyStopping(patience=9)) == [0, 1, 2, 3]
    assert "collapsed to 0.390, 22% worse than its best, 0.500" in said(caplog)


def test_another_share_or_none(tmp_path):
    values = [0.8, 0.5, 0.3, 0.1]
    assert fit(tmp_path / "half", values, GuardedEarlyStopping(collapse_share=0.5)) == [0, 1, 2]
    assert fit(tmp_path / "none", values, GuardedEarlyStopping(collapse_share=None)) == [0, 1, 2, 3]


@pytest.mark.parametrize("share", [0.2, None])
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_stops_the_run_and_is_named(tmp_path, caplog, value, share):
    assert fit(tmp_path, [0.5, value, 0.6], GuardedEarlyStopping(collapse_share=share)) == [0, 1]
    assert f"stopped in epoch 1: Monitored metric val/map = {value} is not finite" in said(caplog)


def test_patience_and_minimum_gain(tmp_path, caplog):
    values = [0.50, 0.505, 0.509, 0.52, 0.525, 0.53, 0.9]
    guard = GuardedEarlyStopping(patience=2, min_delta=0.01)
    assert fit(tmp_path, values, guard) == [0, 1, 2]
    assert "did not improve in the last 2" in said(caplog)
    assert fit(tmp_path / "b", values, GuardedEarlyStopping(patience=3, min_delta=0.01)) == [0, 1, 2, 3, 4, 5, 6]


def test_noise_about_nothing_is_no_collapse(tmp_path):
    """A model from random weights: no score at first (COCO's -1 where there is nothing), then hardly any."""
    values = [-1.0, 0.0, 0.002, 0.0, 0.0015, 0.0, 0.1]
    assert len(fit(tmp_path, values, GuardedEarlyStopping(patience=9))) == len(values)


def test_over_detection_can_be_watched_beside_the_score(tmp_path, caplog):
    score = GuardedEarlyStopping(patience=9)
    boxes = GuardedEarlyStopping("val/over/boxes_per_object", mode="min", patience=9, collapse_share=0.5)
    assert fit(tmp_path, [1.2, 1.1, 1.6, 1.7, 1.8], score, boxes) == [0, 1, 2, 3]
    assert "val/over/boxes_per_object collapsed to 1.700, 55% worse than its best, 1.100" in said(caplog)


def test_an_epoch_without_validation_counts_for_nothing(tmp_path):
    values = [0.9, 0.5, 0.9, 0.45, 0.9, 0.44, 0.1]  # only those of epochs 1, 3 and 5 are validated
    assert len(fit(tmp_path, values, GuardedEarlyStopping(patience=3), check_val_every_n_epoch=2)) == len(values)


def test_a_resumed_run_remembers_the_best_and_the_count(tmp_path, caplog):
    values = [0.6, 0.55, 0.54, 0.55]
    assert fit(tmp_path / "a", values, GuardedEarlyStopping(patience=3), max_epochs=2) == [0, 1]
    assert fit(tmp_path / "a", values, GuardedEarlyStopping(patience=3), resume=True) == [2, 3]
    assert "did not improve in the last 3" in said(caplog)
    fit(tmp_path / "b", values, GuardedEarlyStopping(), max_epochs=1)
    assert fit(tmp_path / "b", [0.6, 0.4, 0.6], GuardedEarlyStopping(), resume=True) == [1]


def test_a_patience_given_on_resume_wins(tmp_path):
    values = [0.6, 0.55, 0.54, 0.55, 0.56]
    assert fit(tmp_path, values, GuardedEarlyStopping(patience=2)) == [0, 1, 2]
    assert fit(tmp_path, values, GuardedEarlyStopping(patience=4), resume=True) == [3, 4]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mode": "best"}, "mode is 'best'"),
        ({"patience": 0}, "patience is 0"),
        ({"min_delta": -0.1}, "min_delta is -0.1"),
        ({"min_delta": NAN}, "min_delta is nan"),
        ({"collapse_share": 0}, "collapse_share is 0"),
        ({"collapse_share": NAN}, "collapse_share is nan"),
    ],
)
def test_settings_that_cannot_be_used_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        GuardedEarlyStopping(**setting)


def test_a_run_that_had_stopped_trains_no_further_when_it_is_resumed(tmp_path, caplog):
    values = [0.5, 0.5, 0.5, 0.9, 0.9]
    assert fit(tmp_path, values, GuardedEarlyStopping(patience=2)) == [0, 1, 2]
    with caplog.at_level(logging.WARNING):
        assert fit(tmp_path, values, GuardedEarlyStopping(patience=2), resume=True) == []
    assert (
        "the run had stopped early: val/map did not gain in 2 validations; go on with a higher patience" in caplog.text
    )
    assert fit(tmp_path, values, GuardedEarlyStopping(patience=3), resume=True) == [3, 4]


def test_a_run_that_had_collapsed_trains_no_further_unless_more_is_allowed(tmp_path, caplog):
    values = [0.5, 0.3, 0.6]
    assert fit(tmp_path, values, GuardedEarlyStopping(collapse_share=0.2)) == [0, 1]
    with caplog.at_level(logging.WARNING):
        assert fit(tmp_path, values, GuardedEarlyStopping(collapse_share=0.2), resume=True) == []
    assert "the run had stopped early: val/map collapsed to 0.300, 40% worse than its best, 0.500" in caplog.text
    assert fit(tmp_path, values, GuardedEarlyStopping(collapse_share=0.5), resume=True) == [2]
