"""The sheet of epochs: what is trained, what its cells show, and the file."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import epochs_sheet
from benchmarks._runs import flags
from benchmarks.epochs_sheet import Cell, Column, columns_of, counted, jpeg, sheet, spread
from gdino_lightning import cli
from gdino_lightning.cli.finished_run import open_checkpoint
from gdino_lightning.data.batch import Request
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.images import read_rgb
from gdino_lightning.data.pictures import read_split
from gdino_lightning.inference.draw import color_of
from gdino_lightning.model.pretrained import read_checkpoint
from gdino_lightning.training.checkpoint_io import write_checkpoint
from gdino_lightning.training.metrics_csv import read_metrics

TINY = ["--data.source=null", "--data.short_side=64", "--data.long_side_max=64", "--data.val=0.25"]


def cell(*labels: int) -> Cell:
    boxes = [[10 * i, 10, 10 * i + 8, 50] for i in range(len(labels))]
    return Cell(np.full((60, 80, 3), 255, np.uint8), boxes, list(labels))


@pytest.fixture
def fits(monkeypatch) -> list[dict[str, object]]:
    """Stands for `gdino fit`: notes the arguments and leaves the checkpoints of all epochs, empty."""
    done = []

    def fit(verb, arguments, folder, *switches):
        assert verb == "fit"
        done.append({**arguments, "switches": switches})
        (arguments["run"] / "checkpoints").mkdir(parents=True)
        for epoch in range(arguments["trainer.max_epochs"]):
            (arguments["run"] / "checkpoints" / f"epoch-{epoch:02d}.ckpt").touch()

    monkeypatch.setattr(epochs_sheet, "gdino", fit)
    monkeypatch.setattr(epochs_sheet, "columns_of", lambda *_: (["a"], [Column("ground truth", "object", [cell(0)])]))
    return done


@pytest.mark.parametrize(
    ("number", "count", "chosen"),
    [(253, 4, [0, 84, 168, 252]), (5, 2, [0, 4]), (5, 1, [0]), (3, 9, [0, 1, 2]), (1, 4, [0])],
)
def test_pictures_are_spread_over_the_split(number, count, chosen):
    assert spread(range(number), count) == chosen


@pytest.mark.parametrize(("count", "unit", "text"), [(0, "box", "no box"), (1, "box", "1 box"), (2, "box", "2 boxes")])
def test_counts_are_words(count, unit, text):
    assert counted(count, unit) == text
    assert counted(count, "object") == text.replace("boxes", "objects").replace("box", "object")


def test_a_cell_has_its_title_its_count_and_boxes_in_the_colours_of_the_legend():
    figure = sheet(
        [Column("ground truth", "object", [cell(0), cell(1)]), Column("epoch 1", "box", [cell(), cell(1, 1)])], "ab"
    )
    axes = figure.axes
    assert [place.get_title() for place in axes] == ["ground truth", "epoch 1", "", ""]
    assert [place.get_xlabel() for place in axes] == ["1 object", "no box", "1 object", "2 boxes"]
    drawn = [{tuple(color) for color in place.images[0].get_array().reshape(-1, 3).tolist()} for place in axes]
    for colors, labels in zip(drawn, [{0}, set(), {1}, {1}], strict=True):
        assert {label for label in (0, 1) if color_of(label) in colors} == labels
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    patch = legend.get_patches()[1].get_facecolor()[:3]
    assert [round(255 * part) for part in patch] == list(color_of(1))


def test_a_sheet_of_twenty_drawn_pictures_is_large_enough_to_read_and_below_400_kb(drawn):
    pictures = read_split(drawn / "test")[:4]
    cells = [Cell(read_rgb(each.path), each.boxes_px, [0] * len(each.labels)) for each in pictures]
    data = jpeg(sheet([Column("x", "box", cells)] * 5, ["a"]))
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert min(width, height) > 1000
    assert 50_000 < len(data) < 400_000


def test_all_epochs_are_validated_and_kept_and_nothing_stops_early(fits, tmp_path):
    assert epochs_sheet.main(["--epochs=10,1,5", f"--runs={tmp_path}", f"--output={tmp_path / 'x.jpg'}", *TINY]) == 0
    (fit,) = fits
    assert Path(fit["config"]).name == "sample.yaml"
    assert fit["trainer.max_epochs"] == 10
    assert fit["trainer.check_val_every_n_epoch"] == 1
    names = {each["class_path"].rpartition(".")[2]: each.get("init_args") for each in fit["trainer.callbacks"]}
    assert names["EpochCheckpoints"]["keep"] == 10
    assert names.keys() == {"RampedEMA", "Calibrate", "EpochCheckpoints"}  # none that stops early
    assert fit["switches"] == tuple(TINY)
    assert (tmp_path / "x.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_finished_run_is_not_trained_again_and_a_broken_one_is(fits, tmp_path):
    arguments = ["--epochs=2", f"--runs={tmp_path}", f"--output={tmp_path / 'x.jpg'}"]
    for _ in range(2):
        assert epochs_sheet.main(arguments) == 0
    assert len(fits) == 1
    (tmp_path / "fit" / "checkpoints" / "epoch-01.ckpt").unlink()
    assert epochs_sheet.main(arguments) == 0
    assert len(fits) == 2


def test_other_settings_and_missing_epochs_are_one_line_and_exit_code_2(fits, tmp_path, capsys):
    arguments = [f"--runs={tmp_path}", f"--output={tmp_path / 'x.jpg'}"]
    assert epochs_sheet.main([*arguments, "--epochs=2"]) == 0
    assert epochs_sheet.main([*arguments, "--epochs=3"]) == 2
    assert "choose another --runs" in capsys.readouterr().err
    assert epochs_sheet.main([*arguments, f"--run={tmp_path / 'fit'}", "--epochs=1,7"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "epoch-06.ckpt" in line
    assert len(fits) == 1


@pytest.mark.slow
def test_cells_show_what_test_finds_at_the_working_point_of_each_epoch(drawn, tmp_path, monkeypatch):
    """As typed, but in this process. Truth is the table, and what the module of the checkpoint finds by itself."""

    def in_this_process(verb, arguments, folder, *switches):
        assert cli.main([verb, *flags(arguments), *switches]) == 0

    monkeypatch.setattr(epochs_sheet, "gdino", in_this_process)
    output, run = tmp_path / "sheet.jpg", tmp_path / "runs" / "fit"
    options = ["--epochs=1,2", "--num_pictures=3", f"--runs={tmp_path / 'runs'}", f"--output={output}"]
    assert epochs_sheet.main([*options, *TINY, f"--data.root={drawn}"]) == 0
    assert cv2.imread(str(output)) is not None
    assert [row["epoch"] for row in read_metrics(run / "metrics.csv")[1] if "val/map" in row][-2:] == ["0", "1"]

    # so short a training is sure of nothing: thresholds at which there is something to compare
    for path in (run / "checkpoints").glob("epoch-*.ckpt"):
        checkpoint = read_checkpoint(path)
        checkpoint["gdino"]["thresholds"]["scores"] = [0.01, 0.008, 0.006]
        write_checkpoint(path, checkpoint)
    checkpoints = {epoch: run / "checkpoints" / f"epoch-{epoch - 1:02d}.ckpt" for epoch in (1, 2)}
    classes, columns = columns_of(run, checkpoints, 3)
    assert [column.title for column in columns] == ["ground truth", "zero-shot", "epoch 1", "epoch 2"]
    pictures = read_split(drawn / "test")
    chosen = [pictures[0], pictures[round((len(pictures) - 1) / 2)], pictures[-1]]
    with (drawn / "test" / "annotations.csv").open() as file:
        annotated = [row["image_name"] for row in csv.DictReader(file)]
    assert [len(each.labels) for each in columns[0].cells] == [annotated.count(each.name) for each in chosen]

    sizing = Sizing(64, 64, 32)
    dataset = DetectionDataset(chosen, classes)
    for column, path in zip(columns[2:], checkpoints.values(), strict=True):
        module = open_checkpoint(path).eval()
        for index, (picture, shown) in enumerate(zip(chosen, column.cells, strict=True)):
            size = (picture.width, picture.height)
            sample = dataset.sample(Request(index, 0, sizing, sizing.canvas(*size)))
            prompts = module.questioner.chunks
            with torch.no_grad():
                (found,) = module.asker.detect(
                    module.detector, sample.pixels[None], sample.pixel_mask[None], prompts, [size]
                )
            kept = module.thresholds.apply(found)
            assert kept.labels.tolist() == shown.labels
            assert shown.labels
            assert np.allclose(kept.boxes, shown.boxes, atol=1e-3)
    assert json.loads((tmp_path / "runs" / "settings.json").read_text())["epochs"] == 2
