"""One process at a time writes in a run folder."""

import socket

import pytest
from held_folders import held_elsewhere, is_free
from verb_runs import ONE_STEP, SAMPLE_CONFIG, failure, fit_arguments, forbid_steps

from gdino_lightning.cli import main
from gdino_lightning.cli.run_lock import hold_run
from gdino_lightning.errors import ConfigError
from gdino_lightning.lock import LOCK_NAME
from gdino_lightning.training.module import GroundingDinoModule


def test_a_held_folder_is_refused_with_its_holder_and_the_remedy(tmp_path):
    with held_elsewhere(tmp_path / "run") as (holder, _):
        with pytest.raises(ConfigError) as refused, hold_run(tmp_path / "run"):
            pass
        assert str(refused.value) == (
            f"{tmp_path / 'run'}: in use by process {holder} on {socket.gethostname()}; wait for it or stop it, or "
            "start a new run in another folder with --run"
        )


def test_a_run_that_goes_on_elsewhere_is_neither_resumed_nor_scored(copied, monkeypatch, capfd):
    forbid_steps(monkeypatch)
    before = {path: path.read_bytes() for path in copied.run.rglob("*") if path.is_file()}
    with held_elsewhere(copied.run) as (holder, _):
        for verb in ("fit", "validate", "test", "predict"):
            checkpoint = copied.run / "checkpoints" / ("last.ckpt" if verb == "fit" else "best.ckpt")
            more = ["--trainer.max_epochs=3"] if verb == "fit" else []
            message = failure(capfd, verb, f"--ckpt_path={checkpoint}", *more)
            assert f"runs/sample: in use by process {holder} on {socket.gethostname()}" in message
        assert f"in use by process {holder}" in failure(capfd, "select", "--run", str(copied.run))
        kept = {path: path.read_bytes() for path in copied.run.rglob("*") if path.is_file()}
    assert kept.keys() - before.keys() == {copied.run / LOCK_NAME}
    assert all(kept[path] == data for path, data in before.items())


def test_a_fit_holds_its_folder_while_it_trains(drawn, tmp_path, monkeypatch):
    take_step, free = GroundingDinoModule.training_step, []

    def step(module, *batch):
        free.append(is_free(tmp_path / "runs" / "sample"))
        return take_step(module, *batch)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
    assert main([*fit_arguments(drawn, SAMPLE_CONFIG), *ONE_STEP]) == 0
    assert free == [False]
    assert not (tmp_path / "runs" / "sample" / LOCK_NAME).exists()
    assert is_free(tmp_path / "runs" / "sample")
