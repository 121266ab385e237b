"""The thresholds that a run chooses on validation, in its files and in what is done with its checkpoints."""

import contextlib
import csv
import json
from pathlib import Path

import pytest
import torch
from verb_runs import CLASSES, fit_arguments, rows, run_printed

from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.working_point import working_scores
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.model.pretrained import load_pretrained

pytestmark = pytest.mark.slow
MIN_BOXES = 8  # of four validation pictures


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory) -> Path:
    """`fit` for one epoch with calibration, then `test` and `predict` of its best checkpoint."""
    home = tmp_path_factory.mktemp("calibrated")
    calibrate = ["--trainer.callbacks+=gdino_lightning.training.callbacks.Calibrate"]
    calibrate += [f"--trainer.callbacks.min_boxes={MIN_BOXES}", "--trainer.callbacks.evidence=0"]
    with contextlib.chdir(home):
        run_printed(*fit_arguments(drawn), "--trainer.max_epochs=1", *calibrate)
        run_printed("test", "--ckpt_path", "best")
        run_printed("predict", "--ckpt_path", "best")
    return home / "runs" / "sample"


def saved_thresholds(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["gdino"]["thresholds"]


def test_the_run_and_its_checkpoint_hold_the_same_thresholds(run):
    written = Calibration.from_plain(json.loads((run / "thresholds.json").read_text()))
    assert written == Calibration.from_plain(saved_thresholds(run))
    assert [each.name for each in written.classes] == CLASSES
    assert written.min_boxes == MIN_BOXES
    assert all(each.num_boxes < MIN_BOXES for each in written.classes if each.source == "pooled")
    assert load_pretrained(run).thresholds == saved_thresholds(run)


def test_they_were_chosen_on_the_validation_split_alone(run):
    """The values logged for validation are those the file reports; the test split has other numbers of boxes."""
    written = Calibration.from_plain(json.loads((run / "thresholds.json").read_text()))
    last = [row for row in rows(run) if row["val/working/f1"]][-1]
    for each in written.classes:
        assert float(last[f"val/working/f1/{each.name}"]) == pytest.approx(each.f1)
        assert float(last[f"val/working/recall/{each.name}"]) == pytest.approx(each.recall)
    assert float(last["val/working/ece"]) == pytest.approx(written.ece_after)


def test_test_scores_the_test_split_at_them(run, drawn, monkeypatch):
    tables: list[list] = []
    compute = CocoMeanAveragePrecision.compute

    def noting(metric):
        tables.append(metric.records())
        return compute(metric)

    monkeypatch.setattr(CocoMeanAveragePrecision, "compute", noting)
    run_printed("test", "--ckpt_path", str(run))
    row = rows(run)[-1]
    expected = working_scores(tables[-1], CLASSES, Thresholds.from_plain(saved_thresholds(run)))
    fixed = working_scores(tables[-1], CLASSES, Thresholds.fixed(3))
    assert {key: float(row[f"test/{key}"]) for key in expected} == pytest.approx(expected, abs=1e-6)
    assert expected != fixed


def test_predict_writes_what_they_keep(run):
    thresholds = Thresholds.from_plain(saved_thresholds(run))
    least = dict(zip(CLASSES, thresholds.scores, strict=True))
    with (run / "predictions.csv").open() as file:
        found = [(row["label_name"], float(row["score"])) for row in csv.DictReader(file)]
    assert found
    assert all(score >= least[name] - 1e-4 for name, score in found)
    assert min(score for _, score in found) < 0.35  # a model of three steps is never that sure
