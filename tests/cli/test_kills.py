"""Kills at random moments: a run that is resumed after each from its last epoch ends as one that was never killed."""

import multiprocessing
import os
import random
import shutil
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from same_runs import assert_same_run
from verb_runs import SAMPLE_CONFIG, fit_arguments

from gdino_lightning.cli import main

FORK = multiprocessing.get_context("fork")  # of a process that has imported everything
KILLS = 20
RUN = Path("runs/sample")
LAST = RUN / "checkpoints" / "last.ckpt"


def _run(home: Path, arguments: list[str]) -> None:
    os.chdir(home)
    torch.set_num_threads(1)  # sums follow the number of threads, and those of the parent are not in a fork
    cv2.setNumThreads(0)
    with Path("printed.log").open("a", buffering=1) as sys.stdout:
        sys.stderr = sys.stdout
        os._exit(main(arguments))


def run(home: Path, arguments: list[str], kill_after: float | None = None) -> int:
    """Exit code of the program, -9 if it was killed."""
    child = FORK.Process(target=_run, args=(home, arguments))
    child.start()
    child.join(kill_after)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 20 starts of a run, on a machine that may be busy
def test_twenty_kills_change_no_bit_of_weights_metrics_and_the_epoch_of_early_stopping(drawn, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    config = tmp_path / "stops.yaml"
    config.write_text(SAMPLE_CONFIG.read_text().replace("patience: 3, min_delta: 0.002", "patience: 2, min_delta: 0.5"))
    fit = [*fit_arguments(drawn, config), "--trainer.max_epochs=9"]
    began = time.monotonic()
    assert run(whole, fit) == 0
    seconds = time.monotonic() - began
    assert "stopped in epoch 2" in (whole / "printed.log").read_text()

    draw, kills, resumed = random.Random(0), 0, 0
    while kills < KILLS:
        shutil.rmtree(killed, ignore_errors=True)
        killed.mkdir()
        code = -9
        while code == -9:
            goes_on = (killed / LAST).exists()
            if not goes_on:  # killed before the first epoch was whole
                shutil.rmtree(killed / RUN, ignore_errors=True)
            arguments = ["fit", f"--ckpt_path={LAST}"] if goes_on else fit
            code = run(killed, arguments, draw.uniform(0.05, seconds) if kills < KILLS else None)
            kills += code == -9
            resumed += goes_on
        assert code == 0, (killed / "printed.log").read_text()[-2000:]
        assert_same_run(killed / RUN, whole / RUN)
    assert resumed > KILLS / 4  # or all kills came before the first epoch was whole
