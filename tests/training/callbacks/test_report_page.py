"""The page of a run, from a metrics.csv written by hand."""

import math
from pathlib import Path

import pytest
from lxml import html
from random_records import random_records

from gdino_lightning.evaluation.records import RecordSet
from gdino_lightning.evaluation.report.page import render
from gdino_lightning.evaluation.report.sections import Subject
from gdino_lightning.training.callbacks.report_page import RunHistory, report_page
from gdino_lightning.training.metrics_csv import MetricsCSVLogger


def write_run(folder: Path) -> Path:
    logger = MetricsCSVLogger(folder)
    logger.log_metrics({"val/map": 0.05, "val/map_small": -1.0, "val/map/a": 0.1, "epoch": 0}, step=0)  # zero-shot
    for epoch, score in enumerate([0.3, 0.6]):
        step = 10 * epoch + 9
        logger.log_metrics({"train/loss": 5.0 - epoch, "epoch": epoch}, step=step - 5)
        over = {"val/over/boxes_per_object": 2.0, "val/over/hit_score": -1.0}
        logger.log_metrics({"val/map": score, "val/map/a": score, "val/loss": 4.0, "epoch": epoch, **over}, step=step)
    logger.log_metrics({"test/map": 0.7, "epoch": 0}, step=9)
    logger.log_metrics({"test/map": 0.9, "epoch": 1}, step=19)
    return logger.path


def test_history_tells_before_after_and_test_of_the_epoch(tmp_path):
    history = RunHistory.read(write_run(tmp_path), epoch=1)
    assert history.before == {"map": 0.05, "map/a": 0.1}
    assert history.after == {"map": 0.6, "map/a": 0.6, "loss": 4.0, "over/boxes_per_object": 2.0}
    assert history.test == {"map": 0.9}
    assert RunHistory.read(tmp_path / "metrics.csv", epoch=0).after["map"] == 0.3


def test_curves_run_over_epochs_of_training(tmp_path):
    history = RunHistory.read(write_run(tmp_path), epoch=1)
    loss, map_ = history.lines({"train/loss": "training", "val/map": "mAP", "val/nothing": "absent"})
    assert loss.values == {0.5: 5.0, 1.5: 4.0}
    assert loss.before is None
    assert map_.values == {1.0: 0.3, 2.0: 0.6}
    assert map_.before == 0.05
    assert [line.label for line in (loss, map_)] == [0, 1]
    (hits,) = history.lines({"val/over/hit_score": "hits"}, coloured=False)
    assert all(math.isnan(value) for value in hits.values.values())
    assert hits.label is None


@pytest.fixture
def subject() -> Subject:
    return Subject("test", RecordSet(("a", "<b>"), ("x.png",) * 20, tuple(random_records(20, num_classes=2))))


@pytest.mark.slow
def test_the_page_compares_before_after_and_test(tmp_path, subject):
    (tmp_path / "config.yaml").write_text("seed: <0>\n", encoding="utf-8")
    history = RunHistory.read(write_run(tmp_path), epoch=1)
    page = html.document_fromstring(render(report_page(tmp_path, history, subject, [], {"device": "cpu"})))
    table = page.xpath("//table[caption[contains(., 'before and after')]]")[0]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.xpath("./tbody/tr")}
    assert rows["mAP, IoU .50:.95"] == ["0.050", "0.600", "+0.550", "0.900"]
    assert rows["mAP, small"] == ["—"] * 4
    assert rows["AP, <b>"] == ["—"] * 4
    assert rows["boxes per object"] == ["—", "2.000", "—", "—"]
    assert page.xpath("//pre")[0].text == "seed: <0>\n"
    assert page.xpath("//td[text() = 'cpu']")
    assert "epoch-01.ckpt on the test split: 20 pictures" in page.xpath("//p")[0].text
    headings = [heading.text for heading in page.xpath("//h2")]
    assert headings == [
        "Zero-shot against fine-tuned",
        "Curves",
        "Precision and recall",
        "Confusion",
        "Object sizes",
        "Over-detection",
        "Calibration",
        "Settings and environment",
    ]


@pytest.mark.slow
def test_forgetting_is_told_where_a_reference_was_scored(tmp_path, subject):
    logger = MetricsCSVLogger(tmp_path)
    for epoch, step, value in ((0, 0, 0.5), (0, 9, 0.4), (1, 19, 0.3), (2, 29, 0.2)):
        logger.log_metrics({"val/map": 0.1 + value, "val/reference/map": value, "epoch": epoch}, step=step)
    logger.log_metrics({"test/map": 0.7, "test/reference/map": 0.35, "epoch": 1}, step=19)
    history = RunHistory.read(logger.path, epoch=1)
    page = html.document_fromstring(render(report_page(tmp_path, history, subject, [], {})))
    table = page.xpath("//table[caption[contains(., 'reference')]]")[0]
    head = [cell.text for cell in table.xpath("./thead/tr/th")]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.xpath("./tbody/tr")}
    assert head[1:] == ["before training", "chosen epoch", "last epoch", "on its test pictures"]
    assert rows["mAP, IoU .50:.95"] == ["0.500", "0.300", "0.200", "0.350"]
    assert rows["mAP, IoU .50"] == ["—"] * 4
    assert "Forgetting" in [heading.text for heading in page.xpath("//h2")]


@pytest.mark.slow
def test_a_run_without_metrics_and_settings_still_has_a_page(tmp_path, subject):
    history = RunHistory.read(tmp_path / "metrics.csv", epoch=0)
    page = report_page(tmp_path, history, subject, [], {"device": "cpu"})
    assert "nothing to compare" in page.sections[0].text
    assert page.sections[-1].listing == ""
    assert dict((name, value) for name, value, _ in page.headlines)["mAP before training"] == "—"
