"""`skip_non_finite`: a step whose loss or gradient is not finite is left out, as if it had not been."""

import csv
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from prepared_factory import write_split
from ranks import TWO, on_ranks

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import ConfigError
from gdino_lightning.training.callbacks import EpochCheckpoints
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule

CLASSES = ["cat"]
STEPS = 4  # of an epoch
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "log_every_n_steps": 1}
SIZES = {"short_side": 64, "long_side_max": 96, "canvas_multiple": 32, "num_workers": 0, "val": "test"}


class SpoiledOutputs(Callback):
    """The model answers with a number in some steps of a rank."""

    def __init__(self, *steps: int, value: float = math.nan, rank: int = 0) -> None:
        super().__init__()
        self.steps, self.value, self.rank = steps, value, rank

    def on_train_start(self, trainer, module) -> None:
        def spoil(detector, _, outputs):
            if module.training and trainer.global_step in self.steps and trainer.global_rank == self.rank:
                return replace(outputs, boxes=outputs.boxes + self.value)
            return outputs

        module.detector.register_forward_hook(spoil)


class SpoiledGradient(SpoiledOutputs):
    """The outputs are finite, and a gradient is not."""

    def on_train_start(self, trainer, module) -> None:
        def spoil(gradient):
            return gradient * self.value if trainer.global_step in self.steps else gradient

        module.detector.model.model.level_embed.register_hook(spoil)


class LeftOut(Callback):
    """Some steps have no gradient."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        if trainer.global_step in self.steps:
            module.zero_grad()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Eight pictures."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 2 * STEPS), ("test", 1)):
        boxes = {f"{i}.png": [("cat", (1 + i, 2, 20 + i, 25))] for i in range(count)}
        write_split(folder / split, boxes)
    return folder


def fit(root: Path, run: Path, *callbacks: Callback, skip: int = 0, resume: Path | None = None, **trainer: object):
    """Train one epoch, or more, and return the module."""
    seed_everything(0)
    module = GroundingDinoModule(CLASSES, skip_non_finite=skip, drop_path=0.0, warmup_steps=0)
    settings = QUIET | {"max_epochs": 1, "logger": MetricsCSVLogger(run), "use_distributed_sampler": False} | trainer
    kept = [EpochCheckpoints()] if settings["logger"] else []
    Trainer(callbacks=[*kept, *callbacks], default_root_dir=run, num_sanity_val_steps=0, **settings).fit(
        module, DetectionDataModule(str(root), CLASSES, batch_size=2, **SIZES), ckpt_path=resume, weights_only=True
    )
    return module


def same(ours: GroundingDinoModule, theirs: GroundingDinoModule) -> bool:
    weights = theirs.state_dict()
    return all(torch.equal(each, weights[name]) for name, each in ours.state_dict().items())


def cells(run: Path, name: str) -> dict[int, str]:
    """The values of a column by step."""
    with (run / "metrics.csv").open() as file:
        return {int(row["step"]): row[name] for row in csv.DictReader(file) if row.get(name)}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [SpoiledOutputs, SpoiledGradient])
def test_a_step_is_left_out_as_if_it_had_not_been(root, tmp_path, caplog, spoil: Callable[..., Callback]):
    with caplog.at_level(logging.WARNING):
        module = fit(root, tmp_path / "ours", spoil(1), skip=2)
    assert same(module, fit(root, tmp_path / "theirs", LeftOut(1)))
    assert not same(module, fit(root, tmp_path / "others"))
    (said,) = (each.getMessage() for each in caplog.records if "skipped" in each.getMessage())
    assert said.startswith("train step 1: the gradient is not finite (")
    assert "images/" in said
    assert said.endswith(": skipped, 1 of at most 2 such steps")
    assert cells(tmp_path / "ours", "train/skipped") == {STEPS - 1: "1.0"}
    losses = {step: float(loss) for step, loss in cells(tmp_path / "ours", "train/loss").items()}
    assert [step for step, loss in losses.items() if math.isnan(loss)] == ([1] if spoil is SpoiledOutputs else [])
    assert len(losses) == STEPS


def test_one_more_ends_the_run(root, tmp_path):
    with pytest.raises(FloatingPointError, match=r"^train step 2: the gradient is not finite"):
        fit(root, tmp_path, SpoiledOutputs(0, 2, 3), skip=1)


@pytest.mark.slow
def test_a_resumed_run_goes_on_counting(root, tmp_path):
    assert fit(root, tmp_path, SpoiledOutputs(0), skip=2).skipped == 1
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(FloatingPointError, match=r"^train step 6: "):
        fit(root, tmp_path, SpoiledOutputs(5, 6), skip=2, resume=last, max_epochs=2)


@pytest.mark.slow
def test_with_gradients_of_several_batches_the_step_of_all_of_them_is_left_out(root, tmp_path):
    module = fit(root, tmp_path / "ours", SpoiledGradient(1), skip=1, accumulate_grad_batches=2)
    assert same(module, fit(root, tmp_path / "theirs", LeftOut(1), accumulate_grad_batches=2))


def test_a_denoising_loss_is_left_out_too(root, tmp_path):
    seed_everything(0)
    module = GroundingDinoModule(CLASSES, skip_non_finite=1, denoising_queries=4)
    data = DetectionDataModule(str(root), CLASSES, batch_size=2, **SIZES)
    settings = QUIET | {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0}
    Trainer(max_epochs=1, callbacks=[SpoiledOutputs(1)], default_root_dir=tmp_path, **settings).fit(module, data)
    assert module.skipped == 1


def test_float16_skips_by_itself(root, tmp_path):
    module = GroundingDinoModule(CLASSES, skip_non_finite=1)
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    trainer.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(ConfigError, match=r"skip_non_finite does not go with trainer.precision 16-mixed"):
        trainer.fit(module, DetectionDataModule(str(root), CLASSES, **SIZES))


def _fit_on(rank: int, root: Path, run: Path, steps: tuple[int, ...]) -> tuple[int, dict[str, torch.Tensor]]:
    quiet = TWO | {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0}
    module = fit(root, run, SpoiledOutputs(*steps, rank=1), skip=1, **quiet)
    return module.skipped, {name: weight.detach() for name, weight in module.named_parameters()}


@pytest.mark.slow
def test_what_one_rank_cannot_use_no_rank_takes(root, tmp_path):
    (skipped, first), (count, second) = on_ranks(_fit_on, root, tmp_path, (1,))
    assert (skipped, count) == (1, 1)
    assert all(torch.equal(first[name], weight) and torch.isfinite(weight).all() for name, weight in second.items())
