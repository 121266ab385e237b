"""`gdino detect` as typed."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from voc_factory import png, write_files

from gdino_lightning.cli import main
from gdino_lightning.cli.finished_run import open_checkpoint
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.inference.predictor import Predictor

LOW = ["--weights", "nano-random", "--device", "cpu", "--short_side", "32", "--long_side_max", "64"]
LOW += ["--phrases", "cat . dog", "--box_threshold", "0", "--text_threshold", "0"]


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path / "in", {f"p{i}.png": png(64, 32, i) for i in range(3)})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_one_picture_gives_a_drawing_results_and_a_table(pictures, capsys):
    assert main(["detect", *LOW, "--source", "in/p0.png", "--output", "out"]) == 0
    printed = capsys.readouterr()
    found = json.loads(Path("out/detections.json").read_text())
    assert printed.out == f"{len(found)} boxes in 1 picture: out\n"
    assert len(found) == len(rows(Path("out/detections.csv"))) > 0
    assert {path.name for path in Path("out").iterdir()} == {
        "pictures",
        "results",
        "settings.json",
        "images.json",
        "detections.json",
        "detections.csv",
    }


def test_nothing_found_ends_well(pictures, capsys):
    assert main(["detect", *LOW, "--source", "in", "--box_threshold", "1"]) == 0
    assert capsys.readouterr().out == "0 boxes in 3 pictures: out\n"
    assert json.loads(Path("out/detections.json").read_text()) == []


def test_a_folder_goes_on_past_bad_files_and_names_them_at_the_end(pictures, capsys):
    (pictures / "a.jpg").write_bytes(b"nothing")
    (pictures / "z.png").write_bytes(png()[:50])
    assert main(["detect", *LOW, "--source", "in"]) == 2
    printed = capsys.readouterr()
    first, second, last = printed.err.splitlines()
    assert first.startswith("gdino: in/a.jpg: not a picture")
    assert second.startswith("gdino: in/z.png: ")
    assert last == "gdino: 2 of 5 files could not be read: out/failures.txt"
    assert len(Path("out/failures.txt").read_text().splitlines()) == 2
    for name in ("a.jpg", "z.png"):
        (pictures / name).unlink()
    assert main(["detect", *LOW, "--source", "in"]) == 0
    assert not Path("out/failures.txt").exists()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[cat, red dog]", ["cat", "red dog"]),
        ("with_mask: with mask\nbare: face\n", ["with_mask", "bare"]),
        ("model:\n  phrases:\n    with_mask: with mask\n", ["with_mask"]),
    ],
)
def test_phrases_come_from_a_yaml_file(pictures, text, names):
    Path("words.yaml").write_text(text)
    assert main(["detect", *LOW, "--source", "in", "--phrases", "words.yaml"]) == 0
    assert [each["name"] for each in json.loads(Path("out/images.json").read_text())["categories"]] == names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--source", "gone"], "gone: no such file or folder"),
        (["--source", "empty"], "empty: no picture and no video"),
        (["--source", "in/notes.md"], "unknown extension '.md'"),
        (["--source", "in", "--weights", "gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["--source", "in", "--nms_iou", "1.5"], "nms_iou is 1.5"),
        (["--source", "in", "--batch_size", "0"], "--batch_size is 0"),
        (["--source", "in", "--save", "gif"], "gif is nothing that can be saved"),
        (["--source", "in", "--device", "abacus"], "device 'abacus'"),
        (["--source", "in", "--phrases", "gone.yaml"], "gone.yaml: no such file"),
        (["--source", "in", "--phrases", "no.yaml"], "YAML reads True as bool"),
        (["--source", "in", "--phrases", "text.yaml"], "neither a list of phrases nor"),
        (["--source", "in", "--phrases", ""], "no class is named"),
        (["--source", "in", "--output", "in/p0.png"], "is a file; choose a folder"),
        (["--source", "in", "--treshold", "1"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(pictures, capsys, arguments, says):
    Path("empty").mkdir()
    Path("in/notes.md").write_text("")
    Path("no.yaml").write_text("[yes, no]")
    Path("text.yaml").write_text("cat")
    assert main(["detect", *LOW, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gdino: ")
    assert error.count("\n") == 1
    assert says in error


def test_weights_without_phrases_ask_for_some(pictures, capsys):
    assert main(["detect", "--weights", "nano-random", "--source", "in"]) == 2
    assert "no phrases of their own" in capsys.readouterr().err


def test_detection_starts_without_lightning_and_pandas(pictures):
    """Both take longer to import than the miniature to answer."""
    code = (
        "import sys; from gdino_lightning.cli import main; "
        f"code = main({['detect', *LOW, '--source', 'in/p0.png']!r}); "
        "print(code, [name for name in ('lightning', 'pandas', 'albumentations', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.slow
def test_two_processes_share_the_pictures_and_each_is_done_once(pictures, tmp_path):
    (pictures / "broken.jpg").write_bytes(b"nothing")
    command = [sys.executable, "-m", "gdino_lightning", "detect", *LOW, "--source", "in", "--batch_size", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    many = subprocess.run(
        [*command, "--output", "many", "--devices", "2"], capture_output=True, text=True, env=environment
    )
    assert many.returncode == 2, many.stderr
    assert "1 of 4 files could not be read" in many.stderr
    shards = [path.read_text().splitlines() for path in sorted((tmp_path / "many" / "results").iterdir())]
    assert [len(lines) for lines in shards] == [2, 2]
    assert len({json.loads(line)["name"] for lines in shards for line in lines}) == 4
    assert main([*command[3:], "--output", "one"]) == 2
    for name in ("detections.csv", "images.json"):
        assert (tmp_path / "many" / name).read_text() == (tmp_path / "one" / name).read_text()
    # fewer pictures than processes, and nothing left to do
    again = subprocess.run(
        [*command, "--output", "many", "--devices", "2"], capture_output=True, text=True, env=environment
    )
    assert again.returncode == 2, again.stderr
    assert (tmp_path / "many" / "detections.csv").read_text() == (tmp_path / "one" / "detections.csv").read_text()


@pytest.mark.slow
def test_a_run_detects_what_test_scores(fitted, drawn, monkeypatch, tmp_path):
    """The same pictures on the same canvas with the same words: the boxes that `gdino test` would score."""
    monkeypatch.chdir(fitted.home)
    predictor = Predictor.from_pretrained("runs/latest", device="cpu")
    assert predictor.sizing == Sizing(64, 64, 32)
    module = open_checkpoint(fitted.run / "checkpoints" / "best.ckpt").eval()
    assert predictor.phrases == tuple(module.phrases.values())
    data = DetectionDataModule(
        str(drawn), module.phrases, short_side=64, long_side_max=64, canvas_multiple=32, num_workers=0
    )
    data.setup("test")
    compared = 0
    for batch in data.test_dataloader():
        for target, theirs in zip(batch.targets, module.detect(batch), strict=True):
            ours = predictor.look(target.image_path).found
            torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-4, rtol=0)
            torch.testing.assert_close(ours.boxes[0], theirs.boxes[0], atol=0.1, rtol=0)
            compared += 1
    assert compared == 8
    source = str(Path(drawn) / "test" / "images")
    printed = ["detect", "--weights", "runs/latest", "--source", source, "--output", str(tmp_path / "out")]
    assert main([*printed, "--device", "cpu", "--box_threshold", "0.01", "--text_threshold", "0"]) == 0
    found = rows(tmp_path / "out" / "detections.csv")
    assert {row["label_name"] for row in found} <= set(module.phrases)
    assert len(found) > 0
