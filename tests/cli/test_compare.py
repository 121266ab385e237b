"""`gdino compare`: what it prints of two runs, and what it refuses to compare."""

from dataclasses import replace
from pathlib import Path

import pytest
from random_records import random_records
from verb_runs import failure, run_printed

from gdino_lightning.evaluation.bootstrap import bootstrap_difference, bootstrap_map
from gdino_lightning.evaluation.records import TEST_RECORDS, RecordSet, save_records

RECORDS = tuple(random_records(40, 2, 12))
NAMES = tuple(f"{number}.png" for number in range(40))
WORSE = tuple(replace(record, boxes=record.boxes + 3) for record in RECORDS)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store("a", RecordSet(("with", "without"), NAMES, WORSE))
    store("b", RecordSet(("with", "without"), NAMES, RECORDS))


def store(run: str, found: RecordSet) -> None:
    save_records(Path(run) / TEST_RECORDS, found)


def test_the_table_holds_both_scores_and_the_paired_interval():
    head, _, _, first, second, difference, verdict = run_printed(
        "compare", "a", "b", "--num_resamples=100"
    ).splitlines()
    assert head.startswith("40 test pictures, 100 resamples")
    for line, run, records in ((first, "a", WORSE), (second, "b", RECORDS)):
        own = bootstrap_map(records, 2, 100)
        assert line.startswith(f"| {run} | {own.map.value:.3f} [{own.map.low:.3f}, {own.map.high:.3f}] |")
    paired = bootstrap_difference(WORSE, RECORDS, 2, 100)
    assert f"{paired.map.value:+.3f} [{paired.map.low:+.3f}, {paired.map.high:+.3f}]" in difference
    assert f"{paired.map_50.value:+.3f}" in difference
    assert verdict == "b is better: the interval of the difference in mAP leaves out 0"


def test_the_order_of_the_runs_changes_the_sign_and_not_the_verdict():
    *_, difference, verdict = run_printed("compare", "b", "a", "--num_resamples=50").splitlines()
    assert "[-" in difference
    assert verdict.startswith("b is better")


def test_a_run_is_no_better_than_itself():
    assert run_printed("compare", "a", "a", "--num_resamples=50").splitlines()[-1].startswith("no difference is shown")


def test_other_classes_or_pictures_are_refused_by_name(capfd):
    store("c", RecordSet(("with", "incorrect"), NAMES, RECORDS))
    assert "number 2 is 'without' in the first and 'incorrect' in the second" in failure(capfd, "compare", "a", "c")
    store("d", RecordSet(("with", "without"), (*NAMES[:-1], "other.png"), RECORDS))
    assert "'39.png' in the first and 'other.png'" in failure(capfd, "compare", "a", "d")
    store("e", RecordSet(("with", "without"), NAMES[:-1], RECORDS[:-1]))
    assert "different picture lists: number 40 is '39.png' in the first and None" in failure(capfd, "compare", "a", "e")
    moved = tuple(replace(record, truth_boxes=record.truth_boxes + 1) for record in RECORDS)
    store("f", RecordSet(("with", "without"), NAMES, moved))
    assert "true boxes differ" in failure(capfd, "compare", "a", "f")


def test_a_run_that_was_not_tested_is_told_how(capfd):
    assert "gdino test --ckpt_path nowhere" in failure(capfd, "compare", "a", "nowhere")


def test_too_few_resamples_are_refused(capfd):
    assert "--num_resamples is 1" in failure(capfd, "compare", "a", "b", "--num_resamples=1")
