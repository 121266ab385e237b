"""One process of two fails in the program itself: both end within a minute, with its code and a line that says so."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from ranks import free_port
from verb_runs import fit_arguments

REPOSITORY = Path(__file__).parents[2]
DOORS = {
    "fit": ["-m", "gdino_lightning"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "gdino_lightning"],
}
SECONDS = 60  # to end in, after the failure
START = 60  # seconds to get there in, on a busy machine


@dataclass
class Ended:
    code: int
    printed: str


def end_of(home: Path, root: Path, door: str, *keys: str, **faults: int) -> Ended:
    """Run `fit` on two processes, of which some have a fault, until all of them have ended."""
    several = [*keys, "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.num_sanity_val_steps=0"]
    for how, rank in faults.items():
        several += [
            "--trainer.callbacks+=faults.Fault",
            f"--trainer.callbacks.how={how}",
            f"--trainer.callbacks.rank={rank}",
        ]
    command = [sys.executable, *DOORS[door], *fit_arguments(root), *several]
    if door == "torchrun":
        command.insert(3, f"--master_port={free_port()}")
    paths = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests' / 'support'}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    with (home / "printed").open("w") as printed:
        run = subprocess.Popen(
            command, cwd=home, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = run.wait(START + SECONDS)
            wait_for_all(run.pid)
        finally:
            end_all(run.pid)
    return Ended(code, (home / "printed").read_text())


def wait_for_all(group: int) -> None:
    """Wait until no process of a group is left."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    raise TimeoutError("a process is left behind")


def end_all(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "code", "says"),
    [
        ({"nan": 1}, 3, "process 1 of this run ended with exit code 3, so all were ended"),
        ({"kill": 1, "stuck": 0}, 137, "process 1 of this run ended with exit code 137, so all were ended"),
        ({"kill": 0, "stuck": 1}, -9, "the first process of this run has ended, so this one ends, too"),
    ],
    ids=["NaN", "kill, the first one stuck", "kill of the first one, the other stuck"],
)
def test_two_processes_of_fit_end_together(tmp_path, drawn, faults, code, says):
    ended = end_of(tmp_path, drawn, "fit", **faults)
    assert says in ended.printed
    assert ended.code == code
    assert "zombies" not in ended.printed
    assert "[rank0]: RuntimeError" not in ended.printed
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_of_two_processes_ends_both_after_the_same_step_and_saves(tmp_path, drawn, rank):
    ended = end_of(tmp_path, drawn, "fit", "--data.batch_size=2", term=rank)
    assert ended.code == 143, ended.printed[-2000:]
    last = Path("runs/sample/checkpoints/last.ckpt")
    says = f"in epoch 0, after 2 steps, of which none are lost; resume with: gdino fit --ckpt_path {last}"
    assert f"terminated by SIGTERM {says}" in ended.printed
    assert ended.printed.count("resume with") == 1
    assert torch.load(tmp_path / last, weights_only=True)["global_step"] == 2


@pytest.mark.slow
def test_two_processes_of_torchrun_end_together(tmp_path, drawn):
    ended = end_of(tmp_path, drawn, "torchrun", kill=1)
    assert ended.code == 1
    assert "Signal 9 (SIGKILL)" in ended.printed
    assert "[rank0]: RuntimeError" not in ended.printed
