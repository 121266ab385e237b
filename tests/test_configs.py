"""Every file of configs/: parsed by the real parser, each key explained, its cost said at the head."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gdino_lightning.cli import main
from gdino_lightning.cli.gdino_cli import GdinoCLI
from gdino_lightning.data.world import KINDS

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]
EXPLAINED_AS_A_WHOLE = (
    "phrases",
    "augmentation",
    "callbacks",
    "lr_multipliers",
    "lora",
)  # blocks whose first line says what they hold

FIT, PRETRAIN = "fit", "pretrain"
CLASSES_OF = {FIT: CLASSES, PRETRAIN: list(KINDS)}

pytestmark = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def verb_of(path: Path) -> str:
    return PRETRAIN if path.stem.startswith(PRETRAIN) else FIT


class ParsedError(Exception):
    """Carries the parsed configuration out of the command line before anything is built of it."""


@pytest.fixture
def parse(monkeypatch, drawn):
    def stop(self) -> None:
        raise ParsedError(self.config[self.subcommand])

    def parse_(path: Path) -> dict:
        is_recipe = path.parent.name == "recipes"  # whose classes are those of the dataset
        with pytest.raises(ParsedError) as caught:
            main([verb_of(path), f"--config={path}", *([f"--data.root={drawn}"] if is_recipe else [])])
        return caught.value.args[0].as_dict()

    monkeypatch.setattr(GdinoCLI, "before_instantiate_classes", stop)
    return parse_


def without_defaults(value: object, wanted: object) -> object:
    """The part of a parsed value that the file itself says."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        return {key: without_defaults(value[key], wanted[key]) for key in wanted}
    if isinstance(wanted, list) and isinstance(value, list):
        return [without_defaults(*pair) for pair in zip(value, wanted, strict=True)]
    return value


def keys(text: str) -> Iterator[tuple[str, str]]:
    """(dotted key, line) of every key of the two upper levels, the names of the sections left out."""
    section = ""
    for line in text.splitlines():
        if match := re.match(r"(\w+):(.*)", line):
            section = match[1]
            if match[2].split("#")[0].strip():
                yield section, line
        elif match := re.match(r"  (\w+):", line):
            yield f"{section}.{match[1]}", line


def test_the_parser_takes_it_and_means_the_same(path, parse):
    wanted = yaml.safe_load(path.read_text())
    parsed = parse(path)
    if path.parent.name == "recipes":
        parsed["data"]["root"] = wanted["data"]["root"]
    for section in ("model", "data", "trainer"):
        assert without_defaults(parsed[section], wanted[section]) == wanted[section]
    assert parsed["run"] == wanted["run"] == f"runs/{path.stem}"
    assert parsed["seed_everything"] == wanted["seed_everything"] == 0
    assert parsed["data"]["phrases"] == parsed["model"]["phrases"]
    assert set(parsed["model"]["phrases"]) == set(CLASSES_OF[verb_of(path)])


def test_every_key_is_explained(path):
    found = dict(keys(path.read_text()))
    sections = yaml.safe_load(path.read_text())
    expected = {f"{name}.{key}" for name in ("model", "data", "trainer") for key in sections[name]}
    assert found.keys() == {"run", "seed_everything"} | ({"reference"} & sections.keys()) | expected
    assert [key for key, line in found.items() if not re.search(r"\s# *\w", line)] == []
    nested = {key for key in expected if isinstance(sections[key.split(".")[0]][key.split(".")[1]], dict)}
    assert {key.split(".")[1] for key in nested} <= set(EXPLAINED_AS_A_WHOLE)


def test_every_callback_is_explained(path):
    block = path.read_text().split("callbacks:")[1]
    for entry in block.split("- class_path:")[1:]:
        assert re.search(r"\s# *\w", entry), entry


def test_the_head_says_what_it_is_and_what_it_costs(path):
    head = re.match(r"(?:# .*\n)+", path.read_text())
    assert head is not None
    text = " ".join(line.removeprefix("# ") for line in head[0].splitlines())
    costs = re.search(r"Memory: (.+?)\. Minutes an epoch: (.+)", text)
    assert costs is not None
    assert all(re.search(r"\d|not measured", cost) for cost in costs.groups())
    assert len(text[: costs.start()]) > 20


def test_every_configuration_takes_a_step_as_it_stands(path, drawn, tmp_path, monkeypatch):
    """Precision, clipping, callbacks and schedule as configured; only size, data and weights are small."""
    monkeypatch.chdir(tmp_path)
    data = {
        FIT: {"root": drawn, "short_side": 64, "long_side_max": 64},
        PRETRAIN: {"num_train": 8, "num_val": 2, "short_side": 96, "long_side_max": 120},
    }
    small = {
        **{f"data.{key}": value for key, value in data[verb_of(path)].items()},
        "model.weights": "nano-random",
        "data.canvas_multiple": 32,
        "data.train_short_sides": "null",
        "data.num_workers": 0,
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": 1,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.limit_train_batches": 1,
        "trainer.limit_val_batches": 1,
        "trainer.num_sanity_val_steps": 0,
        "trainer.enable_progress_bar": "false",
    }
    if "devices" in yaml.safe_load(path.read_text())["trainer"]:
        small |= {"trainer.devices": 1, "trainer.strategy": "auto"}
    if "reference" in yaml.safe_load(path.read_text()):
        small["reference.root"] = shutil.copytree(drawn, tmp_path / "reference")
    assert main([verb_of(path), f"--config={path}", *(f"--{key}={value}" for key, value in small.items())]) == 0
    run = next(folder for folder in Path("runs").iterdir() if folder.name == path.stem)
    assert (run / "checkpoints" / "last.ckpt").is_file()
