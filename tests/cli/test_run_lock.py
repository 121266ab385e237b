"""One process at a time writes in a run folder; what a killed one leaves stops nobody."""

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from verb_runs import ONE_STEP, SAMPLE_CONFIG, failure, fit_arguments, forbid_steps

from gdino_lightning.cli import main, run_lock
from gdino_lightning.cli.run_lock import LOCK_NAME, hold_run
from gdino_lightning.errors import ConfigError
from gdino_lightning.training.module import GroundingDinoModule

FORK = multiprocessing.get_context("fork")
# Holds a run, and forks a child that lives on for a while, as loader workers do; prints both process ids.
HOLDER = """
import os, pathlib, sys, time
from gdino_lightning.cli.run_lock import hold_run
with hold_run(pathlib.Path(sys.argv[1])):
    child = os.fork()
    if child:
        print(os.getpid(), child, flush=True)
    time.sleep(120)
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[tuple[int, int]]:
    """Let another process hold a run folder; yield its id and that of its child."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(run_lock.__file__).parents[2])
    _, child = ids = tuple(map(int, holder.stdout.readline().split()))
    try:
        yield ids
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.wait()
        holder.stdout.close()


def is_free(folder: Path) -> bool:
    """Tell whether another process could hold the folder now."""

    def attempt() -> None:
        try:
            with hold_run(folder):
                os._exit(0)
        except ConfigError:
            os._exit(1)

    child = FORK.Process(target=attempt)
    child.start()
    child.join()
    return child.exitcode == 0


def test_a_held_folder_is_refused_with_its_holder_and_the_remedy(tmp_path):
    with held_elsewhere(tmp_path / "run") as (holder, _):
        with pytest.raises(ConfigError) as refused, hold_run(tmp_path / "run"):
            pass
        assert str(refused.value) == (
            f"{tmp_path / 'run'}: in use by process {holder} on {socket.gethostname()}; wait for it or stop it, or "
            "start a new run in another folder with --run"
        )
        assert (tmp_path / "run" / LOCK_NAME).exists()  # still the holder's


def test_a_killed_holder_leaves_no_lock_even_while_its_workers_live(tmp_path):
    with held_elsewhere(tmp_path) as (holder, child):
        os.kill(holder, signal.SIGKILL)
        os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)
        os.kill(child, 0)  # there still
        assert (tmp_path / LOCK_NAME).exists()
        with hold_run(tmp_path):
            assert f"process {os.getpid()} on" in (tmp_path / LOCK_NAME).read_text()
    assert list(tmp_path.iterdir()) == []


def test_folders_are_held_until_the_end_and_one_by_one(tmp_path):
    def hold() -> None:
        with hold_run(tmp_path / "a"):
            assert not is_free(tmp_path / "a")
            assert is_free(tmp_path / "b")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert is_free(tmp_path / "a")


def test_a_lock_file_that_its_holder_removes_meanwhile_is_not_taken_for_the_folder(tmp_path, monkeypatch):
    lock, seen = run_lock._lock, []

    def lock_late(file):
        if not seen:
            (tmp_path / LOCK_NAME).unlink()  # what a holder does at its end
        seen.append(file)
        lock(file)

    monkeypatch.setattr(run_lock, "_lock", lock_late)
    with hold_run(tmp_path):
        assert len(seen) == 2
        assert not is_free(tmp_path)


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", fail)
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "propagate", True)  # `main` switches it off
    with hold_run(tmp_path), hold_run(tmp_path):
        pass
    assert f"{tmp_path}: cannot be locked" in caplog.text


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
