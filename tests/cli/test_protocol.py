"""`test --protocol`, as typed."""

import json

import pytest
from verb_runs import SIZES, failure, rows, run_printed

from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.pictures import read_split
from gdino_lightning.training.module import GroundingDinoModule

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
        (["--annotations", "x.json"], "--annotations is for --protocol coco or lvis or d3"),
        (["--protocol", "refcoco", "--annotations", "x.json"], "--annotations is for --protocol coco or lvis or d3"),
        (["--protocol", "d3"], "--protocol d3 needs --annotations"),
        (["--protocol", "refcoco"], "data/test/captions.jsonl: no caption"),
        (["--protocol", "coco", "--annotations", "x.json"], "x.json: cannot be read"),
        (["--protocol", "coco", "--annotations", "coco/annotations/instances_train.json"], "does not name the test's"),
        (["--protocol", "coco", "--annotations", "data/prepare.json"], "data/prepare.json: is no JSON of a benchmark"),
    ],
)
def test_what_cannot_be_followed_is_told_before_a_picture_is_tested(scored, capfd, monkeypatch, arguments, said):
    run_printed("prepare", "--source", "data", "--root", "coco", "--to", "coco")
    monkeypatch.setattr(GroundingDinoModule, "test_step", lambda *_: pytest.fail("a picture was tested"))
    assert said in failure(capfd, *scored, *arguments)


def test_phrases_of_captions_are_asked_for_as_they_stand(tmp_path, monkeypatch):
    """The miniature knows the drawn world: it finds most things by their kind, and none where there is nothing."""
    monkeypatch.chdir(tmp_path)
    run_printed("sample", "--subject", "world", "--root", "drawn", "--num_images", "24")
    run_printed("prepare", "--source", "drawn", "--root", "data", "--num_train", "12")
    test = tmp_path / "data" / "test"
    pictures = read_split(test)
    (test / "annotations.csv").write_text(f"{','.join(COLUMNS)}\n")  # captions alone
    write_captions(test, pictures, elsewhere=False)
    arguments = ["--data.root=data", "--data.num_workers=0", "--data.short_side=192", "--data.long_side_max=192"]
    arguments += ["--data.canvas_multiple=32", "--trainer.accelerator=cpu", "--model.weights=nano"]
    best, among_5, among_10 = accuracies(run_printed("test", *arguments, "--protocol", "refcoco"))
    assert 60 < best <= among_5 <= among_10 <= 100
    write_captions(test, pictures, elsewhere=True)
    assert accuracies(run_printed("test", *arguments, "--protocol", "refcoco"))[0] < 20


def write_captions(folder, pictures, elsewhere):
    """A caption for each kind of thing of each picture, with its boxes; or with a box in a corner, where nothing is."""
    lines = []
    for picture in pictures:
        for kind in sorted(set(picture.labels)):
            text = kind.replace("_", " ")
            boxes = [box for box, label in zip(picture.boxes_px.tolist(), picture.labels, strict=True) if label == kind]
            phrase = {"spans": [[0, len(text)]], "boxes": [[0, 0, 3, 3]] if elsewhere else boxes}
            lines.append({"image_name": picture.name, "caption": text, "phrases": [phrase]})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))


def accuracies(printed: str) -> list[float]:
    lines = printed.splitlines()
    head = lines.index("| acc@1 | acc@5 | acc@10 |")
    return [float(cell) for cell in lines[head + 2].strip("| ").split(" | ")]
