"""`fit`, `validate`, `test` and `predict` as typed, in process, on the drawn dataset with the miniature."""

import contextlib
import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gdino_lightning.cli import main
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.table import COLUMNS
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.training.callbacks import EpochCheckpoints
from gdino_lightning.training.module import GroundingDinoModule

SAMPLE_CONFIG = Path(__file__).parents[2] / "configs" / "sample.yaml"
SIZES = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 4, "eval_batch_size": 4}
ONE_STEP = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.num_sanity_val_steps=0"]
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]


def fit_arguments(root: Path, config: Path = SAMPLE_CONFIG) -> list[str]:
    """The command line of a small run of configs/sample.yaml."""
    data = {"root": root, "source": "null", "val": 0.25, **SIZES}
    return [
        "fit",
        f"--config={config}",
        *(f"--data.{key}={value}" for key, value in data.items()),
        "--model.weight_decay=1e-5",
        "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
    ]


@dataclass
class Done:
    """A finished run: the folder it was started in, its own folder, and what `fit` and `test` printed."""

    home: Path
    run: Path
    fit_printed: str
    test_printed: str


def run_printed(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def fitted(drawn, tmp_path_factory) -> Done:
    """`fit` for two epochs, nothing else done to it."""
    home = tmp_path_factory.mktemp("fitted")
    with contextlib.chdir(home):
        printed = run_printed(*fit_arguments(drawn))
    return Done(home, home / "runs" / "sample", printed, "")


@pytest.fixture
def copied(fitted, tmp_path, monkeypatch) -> Done:
    """A copy of the run to go on with; it is the current folder."""
    shutil.copytree(fitted.home, tmp_path / "home", symlinks=True)
    monkeypatch.chdir(tmp_path / "home")
    return Done(tmp_path / "home", tmp_path / "home" / "runs" / "sample", fitted.fit_printed, "")


@pytest.fixture(scope="module")
def tested(fitted, tmp_path_factory) -> Done:
    """`test --ckpt_path best` in a copy of the run, without --config."""
    home = tmp_path_factory.mktemp("tested") / "home"
    shutil.copytree(fitted.home, home, symlinks=True)
    with contextlib.chdir(home):
        printed = run_printed("test", "--ckpt_path", "best")
    return Done(home, home / "runs" / "sample", fitted.fit_printed, printed)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"events\.out\.tfevents.*", "events", name) for name in found}


def failure(capfd, *arguments: str) -> str:
    """The last line that a run with bad input prints; Lightning says a word on devices before it."""
    assert main(arguments) == 2
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith("gdino: ")
    return last


def forbid_steps(monkeypatch) -> None:
    def step(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(GroundingDinoModule, "training_step", step)


def test_fit_leaves_the_promised_files_and_links_the_newest_run(fitted):
    assert files(fitted.run) == {
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
    assert sorted(path.name for path in fitted.home.iterdir()) == ["runs"]
    assert (fitted.home / "runs" / "latest").readlink() == Path("sample")
    assert (fitted.run / "report" / "results.png").read_bytes().startswith(b"\x89PNG")


def test_the_saved_configuration_holds_what_was_given_by_flag_and_by_file(fitted, drawn):
    saved = yaml.safe_load((fitted.run / "config.yaml").read_text())
    assert saved["data"]["root"] == str(drawn)
    assert saved["data"]["source"] is None
    assert {key: saved["data"][key] for key in SIZES} == SIZES
    assert float(saved["model"]["weight_decay"]) == 1e-5
    assert list(saved["model"]["phrases"]) == CLASSES
    assert saved["trainer"]["max_epochs"] == 2
    assert saved["seed_everything"] == 0


def test_fit_logs_steps_epochs_rates_and_a_row_before_the_first_step(fitted):
    assert [row["step"] for row in rows(fitted.run) if row["train/loss"]] == ["0", "1", "2", "3", "4", "5"]
    first, *epochs = [row for row in rows(fitted.run) if row["val/map"]]
    assert (first["step"], first["val/loss"]) == ("0", "")
    assert [row["epoch"] for row in epochs] == ["0", "1"]
    assert any(key.startswith("lr-") for key in rows(fitted.run)[0])


def test_the_last_line_says_what_to_run_next_and_that_runs(fitted, tested):
    *_, folder, following = fitted.fit_printed.splitlines()
    assert folder == "run folder: runs/sample"
    assert following == "next: gdino test --ckpt_path runs/sample/checkpoints/best.ckpt"
    assert "test/map" in tested.test_printed


def test_test_needs_no_configuration_and_scores_what_the_checkpoint_says(tested, drawn):
    """The same numbers from the parts put together by hand."""
    module = GroundingDinoModule.load_from_checkpoint(tested.run / "checkpoints/best.ckpt", weights_only=True).eval()
    data = DetectionDataModule(str(drawn), CLASSES, num_workers=0, **SIZES)
    data.setup("test")
    metric = CocoMeanAveragePrecision(module.class_names)
    with torch.no_grad():
        for number, batch in enumerate(data.test_dataloader()):
            metric.update(module.predict_step(batch, number), batch.targets)
    last = rows(tested.run)[-1]
    expected = metric.compute()
    assert "map/with_mask" in expected
    for name, value in expected.items():
        assert float(last[f"test/{name}"]) == pytest.approx(float(value), rel=1e-5), name


def test_printed_and_logged_scores_are_the_same(tested):
    last = rows(tested.run)[-1]
    logged = {key: float(value) for key, value in last.items() if key.startswith("test/")}
    board = EventAccumulator(str(tested.run / "tensorboard")).Reload()
    printed = dict(re.findall(r"(test/[\w/]+)[^\w-]+(-?[\d.]+(?:e-?\d+)?)", tested.test_printed))
    assert {"test/loss", "test/map", "test/map_50", "test/map/with_mask"} <= logged.keys()
    assert printed.keys() == logged.keys()
    for key, value in logged.items():
        assert board.Scalars(key)[-1].value == pytest.approx(value, rel=1e-6), key
        assert float(printed[key]) == pytest.approx(value, rel=1e-6), key


def test_tensorboard_and_the_table_agree_on_the_curves(fitted):
    board = EventAccumulator(str(fitted.run / "tensorboard")).Reload()
    for key in ("train/loss", "val/loss", "val/map"):
        table = [(int(row["step"]), float(row[key])) for row in rows(fitted.run) if row[key]]
        events = [(event.step, event.value) for event in board.Scalars(key)]
        assert [step for step, _ in events] == [step for step, _ in table]
        assert [value for _, value in events] == pytest.approx([value for _, value in table], rel=1e-6)


def test_test_adds_to_the_run_and_changes_nothing_of_it(fitted, tested):
    assert (tested.run / "config.yaml").read_bytes() == (fitted.run / "config.yaml").read_bytes()
    before = rows(fitted.run)
    assert [{key: row[key] for key in before[0]} for row in rows(tested.run)[: len(before)]] == before
    assert len(rows(tested.run)) == len(before) + 1
    added = files(tested.run) - files(fitted.run)
    assert "report/test.jpg" in added
    assert all(name.startswith("report/test") for name in added)
    assert len(added) == 9  # the eight pictures of the split, and the sheet
    assert sorted(path.name for path in (tested.home / "runs").iterdir()) == ["latest", "sample"]


def test_validate_scores_the_validation_part_as_fit_did(copied):
    assert main(["validate", "--ckpt_path", "runs/sample"]) == 0
    best = [row for row in rows(copied.run) if row["val/loss"]]
    epoch = torch.load(copied.run / "checkpoints/best.ckpt", weights_only=True)["epoch"]
    assert float(best[-1]["val/loss"]) == pytest.approx(float(best[epoch]["val/loss"]), rel=1e-5)
    assert len(best) == 3


def test_predict_writes_a_table(copied):
    before = (copied.run / "config.yaml").read_bytes()
    assert main(["predict", "--ckpt_path", "best"]) == 0
    header = (copied.run / "predictions.csv").read_text().splitlines()[0]
    assert header == ",".join([*COLUMNS, "score"])
    assert (copied.run / "config.yaml").read_bytes() == before


def test_resuming_continues_epochs_and_curves_and_keeps_the_record(fitted, copied):
    before = rows(fitted.run)
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3"]) == 0
    after = rows(copied.run)
    assert after[: len(before)] == before
    assert [row["epoch"] for row in after if row["val/loss"]] == ["0", "1", "2"]
    assert [row["step"] for row in after if row["train/loss"]] == [str(step) for step in range(9)]
    assert len([row for row in after if row["val/map"] and not row["val/loss"]]) == 1  # of the untrained model
    assert (copied.run / "config.yaml").read_bytes() == (fitted.run / "config.yaml").read_bytes()
    assert sorted(path.name for path in (copied.home / "runs").iterdir()) == ["latest", "sample"]
    last = torch.load(copied.run / "checkpoints/last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (2, 9)


def test_flags_beat_the_checkpoint_when_resuming(copied):
    """Lightning's own `_parse_ckpt_path` would put the checkpoint's hyper-parameters above them."""
    flags = ["--trainer.max_epochs=3", "--model.learning_rate=5e-4", "--model.top_k=7"]
    assert main(["fit", "--ckpt_path", "runs/sample", *flags]) == 0
    used = torch.load(copied.run / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    first = torch.load(copied.run / "checkpoints/epoch-00.ckpt", weights_only=True)["hyper_parameters"]
    assert (used["learning_rate"], used["top_k"], used["weight_decay"]) == (5e-4, 7, 1e-5)
    assert used["phrases"] == first["phrases"]


def test_flags_beat_the_checkpoint_when_testing(copied, tested):
    assert main(["test", "--ckpt_path", "best", "--model.top_k", "1"]) == 0
    assert rows(copied.run)[-1]["test/loss"] == rows(tested.run)[-1]["test/loss"]
    assert rows(copied.run)[-1]["test/mar_100"] != rows(tested.run)[-1]["test/mar_100"]


def test_weights_alone_cannot_be_resumed(copied, capfd, monkeypatch):
    forbid_steps(monkeypatch)
    message = failure(capfd, "fit", "--ckpt_path", "best")
    assert "last.ckpt" in message
    assert "--model.weights=runs/sample/checkpoints/best.ckpt" in message


def test_a_second_fit_gets_a_folder_of_its_own(copied, fitted, drawn):
    assert main([*fit_arguments(drawn), *ONE_STEP, "--trainer.limit_val_batches=1"]) == 0
    assert (copied.home / "runs" / "latest").readlink() == Path("sample-2")
    assert (copied.run / "metrics.csv").read_bytes() == (fitted.run / "metrics.csv").read_bytes()
    assert len([row for row in rows(copied.home / "runs" / "sample-2") if row["val/loss"]]) == 1
    assert main([*fit_arguments(drawn), *ONE_STEP, "--trainer.limit_val_batches=1", "--run=runs/other"]) == 0
    assert (copied.home / "runs" / "latest").readlink() == Path("other")


def test_a_checkpoint_alone_is_scored_where_the_data_is_named(copied, drawn, capfd, tmp_path):
    moved = shutil.move(copied.run / "checkpoints" / "best.ckpt", tmp_path / "taken.ckpt")
    shutil.rmtree(copied.home / "runs")
    assert "--data.root" in failure(capfd, "test", f"--ckpt_path={moved}")
    sizes = [f"--data.{key}={value}" for key, value in SIZES.items()]
    assert main(["test", f"--ckpt_path={moved}", f"--data.root={drawn}", "--data.num_workers=0", *sizes]) == 0
    assert rows(copied.home / "runs" / "run")[-1]["test/map"]


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


def test_other_phrases_than_the_checkpoint_has_are_refused(copied, capfd):
    phrases = "--model.phrases={with_mask: masked, without_mask: bare, mask_weared_incorrect: wrong}"
    assert "was trained with phrases" in failure(capfd, "fit", "--ckpt_path=last", phrases)


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
    assert "True is not text; put quotes round it" in message


def test_an_interrupted_fit_is_130_and_says_how_to_resume(drawn, tmp_path, monkeypatch, capfd):
    def step(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert main([*fit_arguments(drawn), *ONE_STEP]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones
    assert "gdino fit --ckpt_path last" in capfd.readouterr().out


def test_numbers_that_are_not_finite_end_a_fit_with_3(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EpochCheckpoints, "on_train_epoch_start", spoil)
    assert main([*fit_arguments(drawn), *ONE_STEP]) == 3
    message = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"gdino: train step 0: .*maksssksksss\d+\.png", message)


def spoil(_, trainer, module) -> None:
    with torch.no_grad():
        module.detector.model.model.level_embed.fill_(float("nan"))


@pytest.mark.slow
def test_two_processes_share_one_run(drawn, tmp_path):
    """What Lightning starts for the second device must see the same command line and the same folder."""
    (tmp_path / "runs" / "sample").mkdir(parents=True)
    (tmp_path / "runs" / "sample" / "notes.txt").write_text("used")
    several = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    command = [sys.executable, "-m", "gdino_lightning", *fit_arguments(drawn), *several]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "sample", "sample-2"]
    table = rows(tmp_path / "runs" / "sample-2")
    assert [row["step"] for row in table if row["train/loss"]] == ["0", "1"]  # 12 pictures, 2 times 4 a step
    assert [row["epoch"] for row in table if row["val/loss"]] == ["0"]
    assert done.stdout.count("run folder: runs/sample-2") == 1
