"""`gdino phrases`: the table, the configuration it writes, and what it refuses."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from verb_runs import CLASSES, SIZES, failure, run_printed

from gdino_lightning.cli import main
from gdino_lightning.cli.phrases_verb import HEADER
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.training.module import GroundingDinoModule

FIRST = {"with_mask": "with mask", "without_mask": "without mask", "mask_weared_incorrect": "mask worn incorrectly"}
CANDIDATES = {"with_mask": ["with mask", "a cat", "a red mask on a face"], "without_mask": ["without mask", "circle"]}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(drawn, here) -> Path:
    """A configuration whose test table cannot be read: the test split is not for choosing."""
    shutil.copytree(drawn, here / "data")
    (here / "data" / "test" / "annotations.csv").write_text("nobody reads this")
    return write(here / "config.yaml", configuration())


def configuration(**data: object) -> dict:
    return {
        "model": {"weights": "nano", "phrases": FIRST},
        "data": {"root": "data", "val": 0.5, "num_workers": 0, **SIZES, **data},
        "trainer": {"accelerator": "cpu", "max_epochs": 9},
        "run": "runs/x",
    }


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def validated(config: Path, phrases: dict[str, str]) -> dict[str, float]:
    """Scores of the miniature on the validation part with some wordings, put together by hand."""
    module = GroundingDinoModule(phrases, "nano").eval()
    data = DetectionDataModule(**yaml.safe_load(config.read_text())["data"], phrases=phrases)
    data.setup("validate")
    metric = CocoMeanAveragePrecision(CLASSES)
    for batch in data.val_dataloader():
        metric.update(module.detect(batch), batch.targets)
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.slow
def test_every_wording_is_scored_beside_the_first_ones_and_the_best_are_written(config):
    candidates = write(Path("words.yaml"), CANDIDATES)
    typed = ("phrases", "--candidates=words.yaml", "--config=config.yaml")
    printed = run_printed(*typed).splitlines()
    table = {tuple(row[:2]): row[2:] for row in map(cells, printed) if row[0] in CLASSES}
    assert list(table) == [(name, each) for name in CLASSES for each in CANDIDATES.get(name, [FIRST[name]])]
    for (name, wording), row in table.items():
        scores = validated(config, FIRST | {name: wording})
        assert row[0] == f"{scores[f'map/{name}']:.3f}"
        assert float(row[1]) >= 0
    chosen = {name: wording for (name, wording), row in table.items() if row[-1] == "chosen"}
    assert list(chosen) == CLASSES
    for (name, _), row in table.items():
        assert float(row[0]) <= float(table[name, chosen[name]][0])
    output = candidates.with_name("words-chosen.yaml")
    assert yaml.safe_load(output.read_text()) == {"model": {"phrases": chosen}}
    together = {cells(line)[0]: cells(line)[1] for line in printed if " wordings | " in line}
    for what, wordings in (("first", FIRST), ("chosen", chosen)):
        if together:
            assert together[f"{what} wordings"].startswith(f"{validated(config, wordings)['map']:.3f} [")
    assert bool(together) == (chosen != FIRST)
    assert printed[-1] == "next: gdino fit --config config.yaml --config words-chosen.yaml"
    before = output.read_bytes()
    assert run_printed(*typed).splitlines() == printed  # and its own file is replaced
    assert output.read_bytes() == before


@pytest.mark.slow
def test_the_chosen_wordings_are_a_configuration_for_fit(config, drawn):
    write(Path("words.yaml"), {"with_mask": ["no", "yes: a #1 'face'"], "without_mask": "circle"})
    run_printed("phrases", "--candidates=words.yaml", "--config=config.yaml", "--output=out/best.yaml")
    written = yaml.safe_load(Path("out/best.yaml").read_text())["model"]["phrases"]
    assert written["with_mask"] in ("no", "yes: a #1 'face'")
    assert (written["without_mask"], written["mask_weared_incorrect"]) == ("circle", "mask worn incorrectly")
    shutil.copy(drawn / "test" / "annotations.csv", "data/test")  # `fit` looks at all tables before it begins
    short = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    assert main(["fit", "--config=config.yaml", "--config=out/best.yaml", *short]) == 0
    assert yaml.safe_load(Path("runs/x/config.yaml").read_text())["model"]["phrases"] == written


def test_weights_and_root_can_be_given(config):
    write(config, configuration(root="nowhere"))
    write(Path("words.yaml"), {"with_mask": ["with mask"]})
    printed = run_printed(
        "phrases", "--candidates=words.yaml", "--config=config.yaml", "--weights=nano-random", "--root=data"
    )
    assert "the first wording of every class is chosen" in printed
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"with_maks": ["a", "b"]}, "words.yaml: with_maks is no class of the configuration, which has with_mask,"),
        ({"with_mask": []}, "words.yaml: with_mask: has no list of wordings"),
        ({"with_mask": {"a": "b"}}, "words.yaml: with_mask: has no list of wordings"),
        ({"with_mask": None}, "words.yaml: with_mask: has no list of wordings"),
        ({"with_mask": ["a", " "]}, "words.yaml: with_mask: has an empty wording"),
        ({"with_mask": ["a mask", "A  Mask"]}, "words.yaml: the wording 'A Mask' is twice in with_mask"),
        ({"with_mask": ["face"], "without_mask": ["a", "face"]}, "'face' is in with_mask and in without_mask"),
        ({"with_mask": ["with mask", "without mask"]}, "'without mask' is in with_mask and in without_mask"),
        ("with_mask: [yes]", "words.yaml: with_mask: YAML reads True as bool"),
        ("no: [a]", "words.yaml: YAML reads False as bool"),
        ("with_mask: [a]\nwith_mask: [b]", "words.yaml line 2: with_mask is given twice"),
        ("with_mask: [a", "words.yaml line"),
        ("- a", "words.yaml: is something else than"),
        ("", "words.yaml: is something else than"),
    ],
)
def test_candidates_that_cannot_be_used_are_named_before_anything_is_loaded(config, capfd, monkeypatch, written, says):
    monkeypatch.setattr(GroundingDinoModule, "__init__", None)
    write(Path("words.yaml"), written)
    message = failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml")
    assert says in message
    assert len(message) < 300
    assert not Path("words-chosen.yaml").exists()


@pytest.mark.parametrize(
    ("wordings", "says"),
    [
        (["cafe", "café"], "words.yaml: prompt: 'cafe' and 'café' are the same to the tokenizer"),
        (["a", "日本"], "words.yaml: "),
        (["a", "mask " * 300], "words.yaml: prompt: 'mask mask"),
    ],
)
def test_wordings_that_the_tokenizer_cannot_tell_or_fit_are_named(config, capfd, wordings, says):
    write(Path("words.yaml"), {"with_mask": wordings})
    message = failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml")
    assert says in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (configuration(val="test"), "data.val is test: wordings are never chosen on the test split"),
        (configuration(vall=1), "vall"),
        (configuration() | {"trainer": {"accelerator": "abacus"}}, "trainer: You selected an invalid accelerator"),
        (configuration() | {"model": {"phrases": FIRST, "weights": "no/such/run"}}, "no/such/run"),
        ({"model": {"phrases": FIRST}}, "root"),
        ({"data": {"root": "data"}}, "phrases: no class is named"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(config, capfd, content, says):
    write(config, content)
    write(Path("words.yaml"), {"with_mask": ["a"]} if "model" in content else {})
    assert says in failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml")


def test_a_file_that_somebody_else_wrote_is_not_replaced(config, capfd):
    write(Path("words.yaml"), CANDIDATES)
    write(Path("words-chosen.yaml"), "mine: true")
    message = failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml")
    assert message.startswith("gdino: words-chosen.yaml: is there and was not written by `gdino phrases`")
    assert Path("words-chosen.yaml").read_text() == "mine: true"
    same = failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml", "--output=words.yaml")
    assert "words.yaml: is there" in same
    assert HEADER.startswith("# ")


@pytest.mark.parametrize("missing", ["words.yaml", "config.yaml"])
def test_a_file_that_is_not_there_is_named(config, capfd, missing):
    write(Path("words.yaml"), CANDIDATES)
    Path(missing).unlink()
    assert f"{missing}: no such file" in failure(capfd, "phrases", "--candidates=words.yaml", "--config=config.yaml")
