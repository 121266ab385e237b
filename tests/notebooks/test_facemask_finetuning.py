"""The notebook: its two files hold the same, nothing is stored in them, and it runs from XML to report."""

import csv
import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbclient
import pytest
import torch
from lightning.pytorch import Trainer
from nbformat import NotebookNode

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.transforms import Augmentation
from gdino_lightning.training.module import GroundingDinoModule

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "notebooks" / "facemask_finetuning.py"
NOTEBOOK = SCRIPT.with_suffix(".ipynb")
SMALL = 'weights, source, num_pictures, epochs, home = "nano", "sample", 24, 1, "."'
IDEAS = ("Early fusion", "Language-guided queries", "Cross-modality decoder", "Sub-sentence grounding")


def is_parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def source_of(words: str) -> str:
    """The code of the only cell that holds some words."""
    (source,) = [cell.source for cell in jupytext.read(NOTEBOOK).cells if words in cell.source]
    return source


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def executed(home) -> list[NotebookNode]:
    """All cells after a run with few pictures and one epoch."""
    notebook = jupytext.read(NOTEBOOK)
    (parameters,) = filter(is_parameters, notebook.cells)
    parameters.source = SMALL
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(home)}}).execute()
    return notebook.cells


def section(cells: list[NotebookNode], title: str) -> list[NotebookNode]:
    """The cells under a heading, up to the next heading."""
    headings = [number for number, cell in enumerate(cells) if cell.source.startswith("#") and is_text(cell)]
    (start,) = [number for number in headings if re.match(rf"##+ {title}\b", cells[number].source)]
    end = min((number for number in headings if number > start), default=len(cells))
    return cells[start:end]


def is_text(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown"


def outputs(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [output for cell in cells if not is_text(cell) for output in cell.outputs]


def printed(cells: list[NotebookNode]) -> str:
    return "".join(output.text for output in outputs(cells) if output.get("name") == "stdout")


def num_figures(cells: list[NotebookNode]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(cells))


def test_the_script_and_the_notebook_hold_the_same_cells():
    script, notebook = (
        [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in jupytext.read(path).cells]
        for path in (SCRIPT, NOTEBOOK)
    )
    assert script == notebook
    assert len(script) > 20


@pytest.mark.parametrize("path", [SCRIPT, NOTEBOOK], ids=lambda path: path.suffix)
def test_each_file_says_that_they_are_a_pair(path):
    assert jupytext.read(path).metadata["jupytext"]["formats"] == "ipynb,py:percent"


def test_nothing_is_stored_in_the_notebook():
    code = [cell for cell in jupytext.read(NOTEBOOK).cells if not is_text(cell)]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}


def test_one_cell_has_the_parameters_that_a_run_here_replaces():
    (parameters,) = filter(is_parameters, jupytext.read(NOTEBOOK).cells)
    shipped, small = {}, {}
    exec(parameters.source, shipped)
    exec(SMALL, small)
    assert shipped.keys() == small.keys()
    assert (shipped["weights"], shipped["source"]) == ("nano", "sample")


def test_every_make_target_that_it_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join(cell.source for cell in jupytext.read(NOTEBOOK).cells if is_text(cell))
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", text))
    assert {"demo", "train"} <= named <= targets


def test_the_first_cell_does_nothing_where_the_package_is_there(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    code = [cell.source for cell in jupytext.read(NOTEBOOK).cells if not is_text(cell)]
    names = {}
    exec(code[0], names)
    assert names["PROJECT"] == ".."


def test_the_first_cell_installs_the_project_where_it_is_missing(monkeypatch):
    commands = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gdino_lightning" else name)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append((command, check)))
    exec(source_of("PROJECT = "), {})
    (command, check), *more = commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert ".." in command
    assert check
    assert not more


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "16-mixed"), ((8, 0), "bf16-mixed")])
def test_the_settings_for_a_gpu_are_taken_by_model_data_and_trainer(capability, precision, drawn):
    names = {"weights": "IDEA-Research/grounding-dino-tiny", "torch": torch, "Augmentation": Augmentation}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        exec(source_of("trainer_settings = "), names)
    module = GroundingDinoModule(names["PHRASES"], weights="nano", **names["model_settings"])
    assert module.switches.gradient_checkpointing
    data = DetectionDataModule(str(drawn), names["PHRASES"], **names["data_settings"])
    data.setup("fit")
    assert next(iter(data.train_dataloader())).pixels.shape[0] == 2
    settings = names["trainer_settings"]
    assert settings.pop("precision") == precision
    assert Trainer(accelerator="cpu", logger=False, **settings).accumulate_grad_batches == 4


def test_the_settings_for_a_gpu_name_the_other_way_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AssertionError, match="without one take 'nano'"):
        exec(source_of("trainer_settings = "), {"weights": "IDEA-Research/grounding-dino-tiny", "torch": torch})


@pytest.mark.slow
def test_it_runs_to_a_score_on_the_test_pictures_and_a_report(executed, home):
    run = home / "runs" / "notebook-1"
    with (run / "metrics.csv").open() as file:
        scores = [float(row["test/map"]) for row in csv.DictReader(file) if row["test/map"]]
    assert len(scores) == 1
    assert math.isfinite(scores[0])
    assert 0 <= scores[0] <= 1
    assert {path.name for path in (run / "report").iterdir() if path.is_file()} == {
        "results.png",
        "before_after.png",
        "test.jpg",
    }
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert "zero-shot, test pictures: mAP50 0." in printed(section(executed, "Fine-tuning"))


@pytest.mark.slow
@pytest.mark.parametrize("title", IDEAS)
def test_every_idea_has_a_picture(title, executed):
    assert num_figures(section(executed, title)) >= 1


@pytest.mark.slow
def test_pictures_of_data_and_report_are_shown(executed):
    assert num_figures(section(executed, "The data")) == 2
    assert num_figures(section(executed, "Report")) == 3


@pytest.mark.slow
def test_words_change_what_is_seen_only_by_fusion(executed):
    changes = dict(re.findall(r"fusion (on|off).* by (\S+) %", printed(section(executed, "Early fusion"))))
    assert float(changes["on"]) > 0
    assert float(changes["off"]) == 0


@pytest.mark.slow
def test_other_phrases_change_a_phrase_only_without_the_mask(executed):
    text = printed(section(executed, "Sub-sentence grounding"))
    changes = dict(re.findall(r"(with|without) the mask:.* by (\S+) %", text))
    assert float(changes["with"]) < 1e-3  # sums in another order
    assert float(changes["without"]) > 0.1
