"""`fit`, `validate`, `test` and `predict` as typed, in process, on the drawn dataset with the miniature."""

from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from verb_runs import CLASSES, ONE_STEP, SIZES, files, fit_arguments, rows

from gdino_lightning.cli import main
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.training.module import GroundingDinoModule


def test_fit_leaves_the_promised_files_and_links_the_newest_run(fitted):
    left = files(fitted.run)
    assert {name for name in left if not name.startswith("report/")} == {
        "config.yaml",
        "thresholds.json",
        "metrics.csv",
        "tensorboard/events",
        "tensorboard/hparams.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/epoch-00.ckpt",
        "checkpoints/epoch-01.ckpt",
        "checkpoints/last.ckpt",
    }
    assert {"report/results.png", "report/report.html", "report/confusion.png"} <= left
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
    assert "test: mAP " in tested.test_printed


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
    for key, value in logged.items():
        assert board.Scalars(key)[-1].value == pytest.approx(value, rel=1e-6), key
    lines = tested.test_printed.splitlines()
    mean, mean_50 = logged["test/map"], logged["test/map_50"]
    assert any(line.startswith(f"test: mAP {mean:.3f}, mAP50 {mean_50:.3f}, mAP75 ") for line in lines)
    for name in CLASSES:
        keys = ("map", "working/precision", "working/recall", "working/f1", "over/boxes_per_object")
        values = (logged[f"test/{key}/{name}"] for key in keys)
        assert f"| {name} | {' | '.join('-' if value == -1 else f'{value:.3f}' for value in values)} |" in lines
    assert "all numbers: runs/sample/metrics.csv" in lines
    assert "Test metric" not in tested.test_printed  # Lightning's table


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
    pictures = {name for name in added if name.startswith("report/test/")}
    assert len(pictures) == 8  # one for each of the split
    assert added - pictures >= {"report/test.jpg", "report/records-test.npz"}
    assert all(name.startswith("report/") for name in added)
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


def test_a_second_fit_gets_a_folder_of_its_own(copied, fitted, drawn):
    assert main([*fit_arguments(drawn), *ONE_STEP, "--trainer.limit_val_batches=1"]) == 0
    assert (copied.home / "runs" / "latest").readlink() == Path("sample-2")
    assert (copied.run / "metrics.csv").read_bytes() == (fitted.run / "metrics.csv").read_bytes()
    assert len([row for row in rows(copied.home / "runs" / "sample-2") if row["val/loss"]]) == 1
    assert main([*fit_arguments(drawn), *ONE_STEP, "--trainer.limit_val_batches=1", "--run=runs/other"]) == 0
    assert (copied.home / "runs" / "latest").readlink() == Path("other")
