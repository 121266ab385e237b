"""`gdino pretrain` as typed, in process: few, small scenes of the drawn world."""

import contextlib
import inspect
import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from verb_runs import ONE_STEP, SAMPLE_CONFIG, SIZES, failure, files, forbid_steps, rows, run_printed

from gdino_lightning.cli import main
from gdino_lightning.data.scenes import WorldDataModule
from gdino_lightning.training.module import GroundingDinoModule

CONFIG = SAMPLE_CONFIG.with_name("pretrain_nano.yaml")
SCENES = {"num_train": 4, "num_val": 2, "negatives": 3, "batch_size": 2, "short_side": 96, "long_side_max": 120}
PRETRAIN = [
    "pretrain",
    f"--config={CONFIG}",
    *(f"--data.{key}={value}" for key, value in SCENES.items()),
    "--data.train_short_sides=[96]",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=2",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
]


@dataclass
class Pretrained:
    """A run of two epochs: the folder it was started in, its own folder, and what was printed."""

    home: Path
    run: Path
    printed: str


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Pretrained:
    home = tmp_path_factory.mktemp("pretrained")
    with contextlib.chdir(home):
        printed = run_printed(*PRETRAIN)
    return Pretrained(home, home / "runs" / "pretrain_nano", printed)


def interrupt_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Press Ctrl-C before the first step of an epoch."""
    take_step = GroundingDinoModule.training_step

    def step(module, *batch):
        if module.current_epoch == epoch:
            raise KeyboardInterrupt
        return take_step(module, *batch)

    monkeypatch.setattr(GroundingDinoModule, "training_step", step)


def curves(run: Path) -> list[dict[str, str]]:
    return [row for row in rows(run) if row["train/loss"] or row["val/loss"]]


def test_it_leaves_a_run_folder_like_fit(pretrained):
    assert files(pretrained.run) == {
        "config.yaml",
        "metrics.csv",
        "tensorboard/events",
        "tensorboard/hparams.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/epoch-00.ckpt",
        "checkpoints/epoch-01.ckpt",
        "checkpoints/last.ckpt",
        "report/results.png",
    }
    assert (pretrained.home / "runs" / "latest").readlink() == Path("pretrain_nano")
    assert [row["step"] for row in rows(pretrained.run) if row["train/loss"]] == ["0", "1", "2", "3"]
    assert [row["epoch"] for row in rows(pretrained.run) if row["val/loss"]] == ["0", "1"]
    saved = yaml.safe_load((pretrained.run / "config.yaml").read_text())
    assert {key: saved["data"][key] for key in SCENES} == SCENES


def test_its_last_line_is_a_fine_tuning_that_runs(pretrained, drawn, tmp_path, monkeypatch):
    *_, folder, following = pretrained.printed.splitlines()
    assert folder == "run folder: runs/pretrain_nano"
    command = following.removeprefix("next: gdino ")
    assert command != following
    best = pretrained.run / "checkpoints" / "best.ckpt"
    typed = command.replace("configs/sample.yaml", str(SAMPLE_CONFIG)).replace(
        str(best.relative_to(pretrained.home)), str(best)
    )
    monkeypatch.chdir(tmp_path)
    small = [f"--data.{key}={value}" for key, value in {"root": drawn, **SIZES}.items()]
    assert main([*shlex.split(typed), *small, *ONE_STEP, "--model.learning_rate=1e-9"]) == 0
    tuned = torch.load(tmp_path / "runs/sample/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    before = torch.load(best, weights_only=True)["state_dict"]
    assert all(torch.allclose(tuned[name], value, atol=1e-6) for name, value in before.items())


def test_interrupted_and_resumed_as_it_says_it_ends_like_one_go(pretrained, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_in(patch, epoch=1)
        try:
            assert main(PRETRAIN) == 130
        finally:
            signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones
    says = capfd.readouterr().out.splitlines()[-1]
    command = says.removeprefix("interrupted in epoch 1, after 2 steps, of which none are lost; resume with: gdino ")
    assert command == "pretrain --ckpt_path runs/pretrain_nano/checkpoints/last.ckpt"
    torch.manual_seed(99)  # another process has another random state
    assert main(shlex.split(command)) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "pretrain_nano"]
    resumed, straight = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in (tmp_path / "runs" / "pretrain_nano", pretrained.run)
    )
    assert (resumed["epoch"], resumed["global_step"]) == (straight["epoch"], straight["global_step"]) == (1, 4)
    for name, value in straight["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    states = [each["optimizer_states"][0]["state"] for each in (resumed, straight)]
    assert all(torch.equal(states[0][i]["exp_avg_sq"], state["exp_avg_sq"]) for i, state in states[1].items())
    assert curves(tmp_path / "runs" / "pretrain_nano") == curves(pretrained.run)


def test_interrupted_in_its_first_epoch_it_says_that_there_is_nothing_to_resume(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    interrupt_in(monkeypatch, epoch=0)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert main(PRETRAIN) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert capfd.readouterr().out.splitlines()[-1].startswith("interrupted after 0 steps; no epoch was finished")


def test_help_lists_the_keys_of_the_world_and_of_the_model(capsys):
    assert main(["pretrain", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: gdino pretrain ")
    for prefix, owner in (("model", GroundingDinoModule), ("data", WorldDataModule)):
        listed = {line.split()[0] for line in lines if line.startswith(f"  --{prefix}.")}
        keys = {f"--{prefix}.{name}" for name in list(inspect.signature(owner.__init__).parameters)[1:]}
        assert listed == keys - {"--data.phrases"}  # follows model.phrases and cannot be given
    about_negatives = lines[lines.index("  --data.negatives (default 15)") + 1].strip()
    assert about_negatives == "phrases that are true of nothing, beside those of a training picture's things."


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("--data.root=data", r"data\.root.*`gdino pretrain --help`"),
        ("--data.num_train=many", r"num_train.*`gdino pretrain --help`"),
        ("--data.num_train=0", r"data\.num_train is 0: it must be at least 1"),
        ("--data.train_short_sides=[64]", r"data\.train_short_sides.* 64 px a side"),
        ("--data.long_side_max=96", r"data\.long_side_max.* 77 px a side"),
        ("--model.phrases=[cup, hut]", r"data\.phrases: hut: "),
        ("--trainer.overfit_batches=1", r"overfit_batches.* data\.num_train"),
        ("--ckpt_path=runs/none", r"runs/none: no such checkpoint"),
    ],
)
def test_wrong_keys_and_values_are_named_before_a_step(tmp_path, monkeypatch, capfd, wrong, says):
    monkeypatch.chdir(tmp_path)
    forbid_steps(monkeypatch)
    assert re.search(says, failure(capfd, *PRETRAIN, wrong))


def test_without_a_configuration_it_names_its_own(capfd):
    message = failure(capfd, "pretrain")
    assert "pretrain needs --config" in message
    assert "configs/pretrain_nano.yaml" in message


def test_other_configurations_are_refused(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert "data." in failure(capfd, "pretrain", f"--config={SAMPLE_CONFIG}")
    assert "data." in failure(capfd, "fit", f"--config={CONFIG}")
    assert not (tmp_path / "runs").exists()


def test_weights_alone_cannot_be_resumed(pretrained, monkeypatch, capfd):
    monkeypatch.chdir(pretrained.home)
    message = failure(capfd, "pretrain", "--ckpt_path=best")
    assert "runs/pretrain_nano/checkpoints/best.ckpt: holds weights only" in message
