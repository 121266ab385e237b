"""One training step of the module: two ranks with a picture each must learn what one process learns from both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from prepared_factory import write_split
from ranks import ONE, TWO, on_ranks
from torch.distributed.tensor import DTensor

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.training import denoising
from gdino_lightning.training.module import GroundingDinoModule

CLASSES = {"cat": "a cat", "dog": "a small dog", "owl": None}
QUIET = {
    "use_distributed_sampler": False,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
COUNTS = {"uneven boxes": (1, 9), "a rank without boxes": (0, 5)}  # boxes of the two pictures


@dataclass
class Step:
    """What a step was given and what became of it: gradients as the optimizer gets them, losses as they are logged."""

    boxes: int
    gradients: dict[str, torch.Tensor]
    logged: dict[str, float]


class Watch(Callback):
    """Keeps the first step."""

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        self.gradients = gradients_of(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        self.step = Step(sum(len(target.boxes) for target in batch.targets), self.gradients, losses)


def gradients_of(module: LightningModule) -> dict[str, torch.Tensor]:
    found = {name: weight.grad for name, weight in module.detector.model.named_parameters() if weight.grad is not None}
    return {name: (each.full_tensor() if isinstance(each, DTensor) else each).clone() for name, each in found.items()}


def boxes_of(count: int) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Boxes of all sizes in a picture of 40x30 px."""
    names = list(CLASSES)
    return [(names[i % 3], (2 + 3 * i, 3 + i, 12 + 3 * i, 9 + 2 * i)) for i in range(count)]


def pictures_of(folder: Path, counts: tuple[int, ...]) -> Path:
    """A prepared dataset of pictures with so many boxes."""
    for split in ("train", "test"):
        write_split(folder / split, {f"{i}.png": boxes_of(count) for i, count in enumerate(counts)})
    return folder


def data_of(root: Path, **settings: Any) -> DetectionDataModule:
    sizes = {"short_side": 64, "long_side_max": 96, "canvas_multiple": 32}
    return DetectionDataModule(str(root), CLASSES, num_workers=0, val="test", **sizes | settings)


class FixedDraws:
    """torch, drawing .3 every time: noise is drawn for a batch at once, so else two batches and one do not compare."""

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def rand(self, *shape: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.full(shape, 0.3)


def take_step(root: Path, batch_size: int, settings: dict[str, Any], trainer: dict[str, Any]) -> Step:
    """Take one step, in which nothing depends on the rank, and tell of it."""
    seed_everything(0)
    module = GroundingDinoModule(CLASSES, drop_path=0.0, warmup_steps=0, negatives=1, **{"freeze": [], **settings})
    watch = Watch()
    fit = Trainer(max_steps=1, limit_val_batches=0, callbacks=[watch], default_root_dir=root, **QUIET, **trainer)
    with patch.object(denoising, "torch", FixedDraws()):
        fit.fit(module, data_of(root, batch_size=batch_size))
    return watch.step


def same_gradients(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Compare weight by weight, to 1e-5.

    Softmax takes no notice of the biases of keys: their gradient is 0 and what rounding leaves. So what is below a
    thousandth of the whole gradient is compared with that.
    """
    whole = torch.cat([gradient.flatten() for gradient in theirs.values()]).norm()
    return ours.keys() == theirs.keys() and all(
        (ours[name] - gradient).norm() <= 1e-5 * max(gradient.norm(), 1e-3 * whole) for name, gradient in theirs.items()
    )


def _take_steps(rank: int, roots: list[Path], settings: dict[str, Any]) -> list[Step]:
    return [take_step(root, 1, settings, TWO) for root in roots]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 1], ids=["plain", "with denoising"])
def test_two_ranks_learn_what_one_process_does(tmp_path, noise):
    roots = [pictures_of(tmp_path / name, counts) for name, counts in COUNTS.items()]
    settings = {"denoising_queries": noise}  # one: a single group of queries, however many boxes there are
    for root, *ranks in zip(roots, *on_ranks(_take_steps, roots, settings), strict=True):
        alone = take_step(root, 2, settings, ONE)
        assert tuple(sorted(rank.boxes for rank in ranks)) == COUNTS[root.name]
        assert alone.boxes == sum(COUNTS[root.name])
        assert ("train/loss_dn" in alone.logged) == bool(noise)
        for rank in ranks:
            assert rank.logged == pytest.approx(alone.logged, rel=1e-5)
            assert same_gradients(rank.gradients, alone.gradients)
