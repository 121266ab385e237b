"""The program itself on two processes, started by Lightning and by torchrun: one run, written by the first of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import free_port
from verb_runs import files, fit_arguments, rows, run_printed

REPOSITORY = Path(__file__).parents[2]
SUPPORT = REPOSITORY / "tests" / "support"
TWICE = ["--trainer.devices=2", "--trainer.strategy=ddp"]
PROGRAM = ["-m", "gdino_lightning"]


def start(home: Path, *command: str) -> str:
    """Run Python in a folder, each process of it noting what it changes on the disk; return what is printed."""
    notes = home.with_name(f"{home.name}-notes")
    notes.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    paths = os.pathsep.join(map(str, (REPOSITORY, SUPPORT, SUPPORT / "audit")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "AUDIT_FOLDER": str(notes)}
    done = subprocess.run(
        [sys.executable, *command], cwd=home, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def changed_by(home: Path, rank: int) -> set[str]:
    """Paths below a folder that a rank, or a process that it started, has changed."""
    notes = list(home.with_name(f"{home.name}-notes").glob(f"{rank}-*"))
    assert notes
    paths = (Path(line.split(" ", 1)[1]) for each in notes for line in each.read_text().splitlines())
    return {str(path.relative_to(home)) for path in paths if path.is_relative_to(home)}


@pytest.fixture(scope="module")
def fitted(drawn, tmp_path_factory) -> Path:
    """Where a run of two processes that Lightning starts lies, beside an older one."""
    home = tmp_path_factory.mktemp("fitted") / "home"
    (home / "runs" / "sample").mkdir(parents=True)
    (home / "runs" / "sample" / "config.yaml").write_text("used: true")
    printed = start(home, *PROGRAM, *fit_arguments(drawn), *TWICE)
    assert printed.count("run folder: runs/sample-2") == 1
    return home


def load(home: Path, run: str) -> dict[str, torch.Tensor]:
    return torch.load(home / "runs" / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_two_processes_share_one_run_which_the_first_one_writes(fitted):
    assert sorted(path.name for path in (fitted / "runs").iterdir()) == ["latest", "sample", "sample-2"]
    run = fitted / "runs" / "sample-2"
    assert [row["step"] for row in rows(run) if row["train/loss"]] == ["0", "1", "2", "3"]  # 12 pictures, 8 a step
    assert [row["epoch"] for row in rows(run) if row["val/loss"]] == ["0", "1"]
    written = files(run)
    assert {"config.yaml", "metrics.csv", "thresholds.json", "tensorboard/events"} <= written
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "report/report.html", "report/results.png"} <= written
    changed = changed_by(fitted, 0)
    assert {"runs/sample-2/config.yaml", "runs/sample-2/metrics.csv"} <= changed
    assert any(path.startswith("runs/sample-2/checkpoints/") for path in changed)
    assert changed_by(fitted, 1) == set()


@pytest.mark.slow
def test_torchrun_trains_the_same_weights(fitted, drawn, tmp_path):
    home = tmp_path / "home"
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    start(home, *torchrun, *PROGRAM, *fit_arguments(drawn), *TWICE)
    ours, theirs = load(fitted, "sample-2"), load(home, "sample")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert changed_by(home, 1) == set()


@pytest.mark.slow
def test_two_processes_test_and_predict_what_one_does(fitted, monkeypatch):
    best = "--ckpt_path=runs/sample-2/checkpoints/best.ckpt"
    run = fitted / "runs" / "sample-2"
    start(fitted, *PROGRAM, "test", best)
    ours = (run / "report" / "records-test.npz").read_bytes()
    start(fitted, *PROGRAM, "predict", best)
    predicted = (run / "predictions.csv").read_text()
    monkeypatch.chdir(fitted)
    alone = ["--trainer.devices=1", "--trainer.strategy=auto"]
    run_printed("test", best, *alone)
    two, one = ({key: value for key, value in row.items() if key.startswith("test/")} for row in rows(run)[-2:])
    scores = [name for name in one if "loss" not in name and one[name]]
    assert "test/map" in scores
    assert {name: float(two[name]) for name in scores} == pytest.approx(
        {name: float(one[name]) for name in scores}, abs=1e-9, rel=0
    )
    assert (run / "report" / "records-test.npz").read_bytes() == ours
    run_printed("predict", best, *alone)
    assert (run / "predictions.csv").read_text() == predicted
    assert len(predicted.splitlines()) > 1
    assert not list(run.glob("predictions-*"))
    assert changed_by(fitted, 1) == set()


@pytest.mark.slow
def test_fsdp_is_a_key(drawn, tmp_path):
    """As the sample is trained, less averaged weights, which the refusal names."""
    home = tmp_path / "home"
    callbacks = ", ".join(f"gdino_lightning.training.callbacks.{each}" for each in ("Calibrate", "EpochCheckpoints"))
    arguments = [*fit_arguments(drawn), *TWICE, "--trainer.strategy=fsdp", "--trainer.max_epochs=1"]
    start(home, *PROGRAM, *arguments, f"--trainer.callbacks=[{callbacks}]")
    run = home / "runs" / "sample"
    (row,) = [row for row in rows(run) if row["val/loss"]]
    assert float(row["val/map"]) >= 0
    assert "strategy: fsdp" in (run / "config.yaml").read_text()
    assert changed_by(home, 1) == set()
