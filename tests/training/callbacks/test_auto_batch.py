"""Memory that ends at a number of pictures, on the drawn dataset."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import ConfigError
from gdino_lightning.training.callbacks import AutoBatch, EpochCheckpoints
from gdino_lightning.training.module import GroundingDinoModule

PHRASES = {"with_mask": "with mask", "without_mask": "without mask", "mask_weared_incorrect": "mask worn incorrectly"}


class SmallMemory(GroundingDinoModule):
    """Runs out of memory where a batch has more pictures than fit, and notes what it was given."""

    def __init__(self, fits: int, **settings) -> None:
        super().__init__(PHRASES, weights="nano-random", warmup_steps=0, schedule="constant", **settings)
        self.fits = fits
        self.runs: list[list[tuple[int, int]]] = []  # pictures, pixels of the canvas; the trials come first

    def training_step(self, batch, batch_idx):
        assert self.training
        pictures, _, height, width = batch.pixels.shape
        self.runs[-1].append((pictures, height * width))
        if pictures > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().training_step(batch, batch_idx)

    def on_train_start(self):
        self.runs.append([])


def fit(
    module: SmallMemory, root: Path, run: Path, *callbacks, batch_size=4, epochs=1, resume=None, **settings
) -> Trainer:
    sizes = {"short_side": 64, "long_side_max": 128, "canvas_multiple": 32, "batch_size": batch_size}
    data = DetectionDataModule(str(root), PHRASES, num_workers=0, val=0.25, **sizes)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=run,
        max_epochs=epochs,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        callbacks=[EpochCheckpoints(), *callbacks],
        **quiet,
        **settings,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True if resume else None)
    return trainer


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "fits", "micro"),
    [(4, 1, 2, 2), (2, 3, 4, 3), (6, 1, 1, 1), (4, 1, 100, 4)],  # of 6: 4 fit, but 3 divides it
)
def test_the_largest_divisor_that_fits_is_taken_and_the_effective_batch_stays(
    drawn, tmp_path, batch_size, accumulate, fits, micro
):
    module = SmallMemory(fits)
    trainer = fit(module, drawn, tmp_path, AutoBatch(), batch_size=batch_size, accumulate_grad_batches=accumulate)
    assert max(pictures for pictures, _ in module.runs[-1]) == micro
    assert trainer.accumulate_grad_batches * micro == batch_size * accumulate
    assert sum(pictures for pictures, _ in module.runs[-1]) == 12  # every training picture once
    assert trainer.global_step == -(-len(module.runs[-1]) // trainer.accumulate_grad_batches)


def test_trials_take_the_largest_canvases(drawn, tmp_path):
    module = SmallMemory(2)
    fit(module, drawn, tmp_path, AutoBatch())
    assert module.runs[0][0] == (1, max(pixels for _, pixels in module.runs[-1]))


@pytest.mark.slow
def test_the_search_leaves_no_trace_in_the_weights(drawn, tmp_path):
    """A run that finds 2 x 2 equals one that was set to 2 x 2."""
    seed_everything(3)
    found, told = SmallMemory(2, dropout=0.1), SmallMemory(2, dropout=0.1)
    fit(found, drawn, tmp_path / "a", AutoBatch())
    fit(told, drawn, tmp_path / "b", batch_size=2, accumulate_grad_batches=2)
    for (name, a), b in zip(found.state_dict().items(), told.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.slow
def test_a_resumed_run_keeps_what_was_found_and_goes_on(drawn, tmp_path):
    seed_everything(3)
    straight, stopped, resumed = (SmallMemory(2) for _ in range(3))
    fit(straight, drawn, tmp_path / "a", AutoBatch(), epochs=2)
    fit(stopped, drawn, tmp_path / "b", AutoBatch(), epochs=1)
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    trainer = fit(resumed, drawn, tmp_path / "b", AutoBatch(), epochs=2, resume=last)
    assert trainer.accumulate_grad_batches == 2
    assert len(resumed.runs) == 1
    for (name, a), b in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_where_not_even_one_picture_fits_memory_is_said_to_be_full(drawn, tmp_path):
    with pytest.raises(torch.OutOfMemoryError, match="not even one picture fits"):
        fit(SmallMemory(0), drawn, tmp_path, AutoBatch())


def test_several_processes_are_refused(tmp_path):
    trainer = Trainer(accelerator="cpu", devices=2, logger=False, default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match="one process"):
        AutoBatch().setup(trainer, SmallMemory(1), "fit")
