"""Small runs of `fit` and `test` as typed, and what is read from their folders."""

import contextlib
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from gdino_lightning.cli import main
from gdino_lightning.training.module import GroundingDinoModule

SAMPLE_CONFIG = Path(__file__).parents[2] / "configs" / "sample.yaml"
SIZES = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 4, "eval_batch_size": 4}
ONE_STEP = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.num_sanity_val_steps=0"]
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]


@dataclass
class Done:
    """A finished run: the folder it was started in, its own folder, and what `fit` and `test` printed."""

    home: Path
    run: Path
    fit_printed: str
    test_printed: str


def fit_arguments(root: Path, config: Path = SAMPLE_CONFIG) -> list[str]:
    """The command line of a small run of configs/sample.yaml."""
    data = {"root": root, "source": "null", "val": 0.25, **SIZES}
    return [
        "fit",
        f"--config={config}",
        *(f"--data.{key}={value}" for key, value in data.items()),
        "--model.weight_decay=1e-5",
        "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
    ]


def run_printed(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 0
    return printed.getvalue()


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"events\.out\.tfevents.*", "events", name) for name in found}


def failure(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The last line that a run with bad input prints; Lightning says a word on devices before it."""
    assert main(arguments) == 2
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith("gdino: ")
    return last


def forbid_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
