"""What ends `fit` and `test` early: bad input, Ctrl-C, numbers that are not finite."""

import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from full_disk import fail_within, no_space
from verb_runs import CLASSES, ONE_STEP, SAMPLE_CONFIG, failure, fit_arguments, forbid_steps

from gdino_lightning.cli import main
from gdino_lightning.training.callbacks import EpochCheckpoints
from gdino_lightning.training.module import GroundingDinoModule


def with_label(drawn: Path, folder: Path, split: str) -> Path:
    """A copy of the data in which one box of a split is of another class."""
    shutil.copytree(drawn, folder)
    table = folder / split / "annotations.csv"
    table.write_text(table.read_text().replace("with_mask,", "helmet,", 1))
    return folder


def test_other_classes_in_the_data_are_named_before_training(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    forbid_steps(monkeypatch)
    message = failure(capfd, *fit_arguments(with_label(drawn, tmp_path / "data", "train")))
    assert "labels helmet are no classes of the model" in message
    assert all(name in message for name in CLASSES)


def test_other_classes_in_the_test_split_are_named(copied, drawn, tmp_path, capfd):
    root = with_label(drawn, tmp_path / "data", "test")
    message = failure(capfd, "test", "--ckpt_path=best", f"--data.root={root}")
    assert "labels helmet are no classes of the model" in message
    assert str(root / "test" / "annotations.csv") in message


@pytest.mark.parametrize("callback", ["EarlyStopping", "EpochCheckpoints"])
def test_a_mistyped_monitor_ends_before_training(drawn, tmp_path, monkeypatch, capfd, callback):
    monkeypatch.chdir(tmp_path)
    forbid_steps(monkeypatch)
    text = SAMPLE_CONFIG.read_text()
    at = text.index("monitor: val/map", text.index(callback))
    (tmp_path / "typo.yaml").write_text(text[:at] + text[at:].replace("val/map", "val/mapp", 1))
    message = failure(capfd, *fit_arguments(drawn, tmp_path / "typo.yaml"))
    assert f"{callback}: monitor 'val/mapp' is never logged" in message
    assert "val/map_50" in message
    assert not (tmp_path / "runs").exists()


def test_an_unknown_key_in_the_file_is_named_in_a_short_line(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typo.yaml").write_text(SAMPLE_CONFIG.read_text().replace("batch_size:", "batchsize:", 1))
    message = failure(capfd, *fit_arguments(drawn, tmp_path / "typo.yaml"))
    assert "batchsize" in message
    assert "gdino fit --help" in message
    assert len(message) < 250


def test_classes_that_yaml_read_as_something_else_are_refused(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    message = failure(capfd, *fit_arguments(drawn), "--model.phrases={yes: a cup, no: a plate}")
    assert "as bool, not as text; put quotes round it" in message


@pytest.mark.parametrize(
    ("epoch", "says"),
    [
        (0, "interrupted after 0 steps; no epoch was finished, so there is nothing to resume"),
        (
            1,
            "interrupted in epoch 1, after 1 step, of which none are lost; "
            "resume with: gdino fit --ckpt_path runs/sample/checkpoints/last.ckpt",
        ),
    ],
)
def test_an_interrupted_fit_is_130_and_says_how_to_resume(drawn, tmp_path, monkeypatch, capfd, epoch, says):
    take_step = GroundingDinoModule.training_step

    def step(module, *batch):
        if module.current_epoch == epoch:
            raise KeyboardInterrupt
        return take_step(module, *batch)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert main([*fit_arguments(drawn), *ONE_STEP, "--trainer.max_epochs=2"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones
    assert capfd.readouterr().out.splitlines()[-1] == says


def test_a_disk_that_fills_up_in_a_checkpoint_ends_a_fit_with_4_and_leaves_the_one_before(copied, monkeypatch, capfd):
    last = copied.run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    fail_within(monkeypatch, last, len(before) // 2, no_space)
    one_batch = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=3", *one_batch]) == 4
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    assert re.match(r"gdino: .*runs/sample/checkpoints/last\.ckpt: no space", printed.splitlines()[-1])
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))


def test_numbers_that_are_not_finite_end_a_fit_with_3(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EpochCheckpoints, "on_train_epoch_start", spoil)
    assert main([*fit_arguments(drawn), *ONE_STEP]) == 3
    message = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"gdino: train step 0: .*maksssksksss\d+\.png", message)


def spoil(_, trainer, module) -> None:
    with torch.no_grad():
        module.detector.model.model.level_embed.fill_(float("nan"))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_ends_a_fit_with_3_before_it_reaches_a_weight(copied, monkeypatch, capfd, value):
    last = copied.run / "checkpoints" / "last.ckpt"
    before, weights = last.read_bytes(), {}
    take_step = GroundingDinoModule.training_step

    def step(module, *batch):
        weights.update({name: each.detach().clone() for name, each in module.named_parameters()})
        weights["module"] = module
        loss = take_step(module, *batch)
        module.detector.model.model.level_embed.register_hook(lambda gradient: gradient * value)
        return loss

    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=3"]) == 3
    message = capfd.readouterr().err.splitlines()[-1]
    assert re.match(
        r"gdino: train step 6: the gradient is not finite \(detector\.model\.model\.level_embed\); pictures: .*"
        r"maksssksksss\d+\.png \(\d+ box(es)?\).*; lower model\.learning_rate, or look .*The last good checkpoint is",
        message,
    )
    module = weights.pop("module")
    assert all(torch.equal(each, weights[name]) for name, each in module.named_parameters())
    assert last.read_bytes() == before
