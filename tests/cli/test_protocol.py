"""`test --protocol`, as typed."""

import pytest
from verb_runs import SIZES, failure, rows, run_printed

CLASSES = "{with_mask: with mask, without_mask: without mask, mask_weared_incorrect: mask worn incorrectly}"


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A function that scores the miniature, zero-shot, on a drawn set."""
    monkeypatch.chdir(tmp_path)
    run_printed("sample", "--root", "drawn", "--num_images", "14")
    run_printed("prepare", "--source", "drawn", "--root", "data", "--num_train", "4")
    sizes = [f"--data.{key}={value}" for key, value in SIZES.items()]
    common = ["--data.root=data", "--data.num_workers=0", *sizes, "--trainer.accelerator=cpu", "--model.weights=nano"]
    return ["test", *common, "--model.phrases", CLASSES, "--trainer.enable_progress_bar=false"]


def numbers(printed: str) -> list[str]:
    """The row below COCO's twelve names."""
    lines = printed.splitlines()
    head = lines.index("| AP | AP50 | AP75 | APs | APm | APl | AR1 | AR10 | AR100 | ARs | ARm | ARl |")
    return lines[head + 2].strip("| ").split(" | ")


def test_the_twelve_numbers_are_printed_and_logged_by_the_tables_and_by_a_json_alike(scored, tmp_path):
    run_printed("prepare", "--source", "data", "--root", "coco", "--to", "coco")
    by_tables = run_printed(*scored, "--protocol", "coco")
    by_json = run_printed(*scored, "--protocol", "coco", "--annotations", "coco/annotations/instances_test.json")
    assert "coco, by the tables:" in by_tables
    assert "coco, by coco/annotations/instances_test.json:" in by_json
    assert numbers(by_tables) == numbers(by_json)
    logged = rows(tmp_path / "runs" / "run")[-1]
    assert float(logged["test/coco/AP"]) == pytest.approx(float(logged["test/map"]), abs=1e-6)
    assert f"{100 * float(logged['test/coco/AR100']):.1f}" == numbers(by_tables)[8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "voc"], "protocol"),
        (["--protocol", "lvis"], "--protocol lvis needs --annotations"),
        (["--annotations", "x.json"], "--annotations is for --protocol"),
        (["--protocol", "coco", "--annotations", "x.json"], "x.json: cannot be read"),
        (["--protocol", "coco", "--annotations", "data/prepare.json"], "data/prepare.json: is no JSON of a benchmark"),
    ],
)
def test_what_cannot_be_followed_is_told(scored, capfd, arguments, said):
    assert said in failure(capfd, *scored, *arguments)
