"""Classes that nobody typed: those of the tables."""

import json

import pytest
import yaml
from prepared_factory import write_split
from verb_runs import failure, run_printed

from gdino_lightning.cli.default_phrases import with_phrases
from gdino_lightning.data.fields import COLUMNS

BOX = (1, 2, 20, 25)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / "pets" / "train", {"a.png": [("guide_dog", BOX)], "b.png": [("no", BOX)], "c.png": []})
    write_split(tmp_path / "pets" / "test", {"d.png": [("chat à poil", BOX)]})
    return "pets"


FOUND = {"chat à poil": "chat à poil", "guide_dog": "guide dog", "no": "no"}


def added(*arguments: str) -> dict[str, str] | None:
    """What is added to the arguments, which stay as they are."""
    completed = with_phrases(arguments)
    assert completed[: len(arguments)] == [*arguments]
    if len(completed) == len(arguments):
        return None
    (phrases,) = completed[len(arguments) :]
    return json.loads(phrases.removeprefix("--model.phrases="))


def test_classes_of_all_splits_are_worded_by_their_names(root):
    assert added("--data.root", root) == added(f"--data.root={root}") == FOUND


@pytest.mark.parametrize(
    "told",
    [
        ["--model.phrases", "{cat: cat}"],
        ["--model.phrases.cat=cat"],
        ["--ckpt_path=best"],
        ["--config=told.yaml"],
        ["--help"],
    ],
)
def test_what_was_told_stays(root, tmp_path, told):
    (tmp_path / "told.yaml").write_text("model: {phrases: {cat: cat}}\n")
    assert added("--data.root", root, *told) is None


def test_the_newest_root_counts_and_the_command_line_before_configurations(root, tmp_path):
    write_split(tmp_path / "other" / "train", {"a.png": [("cup", BOX)]})
    for name in ("pets", "other"):
        (tmp_path / f"{name}.yaml").write_text(f"data: {{root: {name}}}\nmodel: {{phrases: null}}\n")
    assert added("--config=pets.yaml", "-c", "other.yaml") == {"cup": "cup"}
    assert added("--config=pets.yaml", "--data.root", "other") == {"cup": "cup"}
    assert added("--ckpt_path", "null", "--config", "pets.yaml") == FOUND


def test_a_configuration_without_classes_takes_them_from_the_tables(root):
    printed = run_printed("fit", "--data.root", root, "--model.weights", "nano", "--print_config")
    settings = yaml.safe_load(printed)
    assert settings["model"]["phrases"] == FOUND  # "no" is a text, not a boolean


def test_a_dataset_of_captions_alone_has_a_class_without_boxes(root, tmp_path):
    (tmp_path / "texts" / "train").mkdir(parents=True)
    (tmp_path / "texts" / "train" / "annotations.csv").write_text(f"{','.join(COLUMNS)}\n")
    (tmp_path / "texts" / "train" / "captions.jsonl").write_text("")
    (tmp_path / "texts" / "train" / "images").mkdir()
    assert added("--data.root", "texts") == {"object": "object"}


def test_without_tables_it_says_what_to_do(root, capfd):
    assert "nowhere has no table to take the classes from; run `gdino prepare" in failure(
        capfd, "fit", "--data.root", "nowhere"
    )
