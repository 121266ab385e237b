"""A pickle that runs code is refused in one line at every door, whatever the file is called."""

import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from canary import MODULE, PICKLES, was_run, write_module
from voc_factory import png

from gdino_lightning.cli import main
from gdino_lightning.evaluation.records import TEST_RECORDS
from gdino_lightning.model.nano import random_nano
from tests.bad_inputs.case import FIT
from tests.bad_inputs.g_settings import prepared
from tests.model.test_pretrained import write_folder

DETECT = ("detect", "--source=a.png", "--phrases=cat", "--output=found")
EDIT = ("edit", "--source=a.png", "--phrase=cat", "--output=b.png")
DOORS = {
    "fit": (*FIT, "--model.weights={}"),
    "fit, resumed": ("fit", "--ckpt_path={}", "--data.root=out"),
    "validate": ("validate", "--ckpt_path={}", "--data.root=out"),
    "test": ("test", "--ckpt_path={}", "--data.root=out"),
    "predict": ("predict", "--ckpt_path={}", "--data.root=out"),
    "detect": (*DETECT, "--weights={}"),
    "edit": (*EDIT, "--weights={}"),
    "export": ("export", "--weights={}", "--format=hf", "--output=folder"),
    "serve": ("serve", "--weights={}"),
    "world": ("world", "--weights={}", "--num_images=1"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a dataset and a picture; whatever is asked for on the terminal is agreed to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    prepared()
    Path("a.png").write_bytes(png())
    return tmp_path


def refusal(capfd, *command: str) -> str:
    assert main(command) == 2
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    line = printed.splitlines()[-1]
    assert line.startswith("gdino: ")
    assert not was_run()
    return line


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["weights.pth", "pytorch_model.bin", "last.ckpt"])
def test_weights_at_every_door(here, capfd, door, name):
    Path(name).write_bytes(PICKLES["archive"])
    assert f"{name}: refused" in refusal(capfd, *(part.format(name) for part in DOORS[door]))


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "x.adapter.safetensors", "a.ckpt", "a.npz"])
def test_every_kind_under_every_name(here, capfd, kind, name):
    Path(name).write_bytes(PICKLES[kind])
    assert f"gdino: {name}: " in refusal(capfd, *DETECT, f"--weights={name}")


def test_an_environment_that_switches_torchs_guard_off_changes_nothing(here, capfd):
    Path("weights.pth").write_bytes(PICKLES["archive"])
    with patch.dict(os.environ, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}):
        assert "weights.pth: refused" in refusal(capfd, *DETECT, "--weights=weights.pth")


def test_a_folder_with_pickled_weights_alone(here, capfd):
    write_folder(Path("folder"), random_nano())
    Path("folder/model.safetensors").unlink()
    Path("folder/pytorch_model.bin").write_bytes(PICKLES["archive"])
    with patch.dict(os.environ, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}):
        assert "folder: cannot be loaded" in refusal(capfd, *DETECT, "--weights=folder")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("model_type", ["grounding-dino", "evil"])
def test_a_folder_that_brings_code_of_its_own(here, file, model_type):
    folder = Path("folder")
    write_folder(folder, random_nano())
    write_module(folder)
    mapped = {name: f"{MODULE}.Config" for name in ("AutoConfig", "AutoModel", "AutoModelForZeroShotObjectDetection")}
    described = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    described |= {"auto_map": mapped | {"AutoTokenizer": [f"{MODULE}.Config", f"{MODULE}.Config"]}}
    described |= {"model_type": model_type} if file == "config.json" else {"tokenizer_class": model_type}
    (folder / file).write_text(json.dumps(described))
    code = main([*DETECT, "--weights=folder"])
    assert code == (2 if model_type == "evil" and file == "config.json" else code)
    assert not was_run()


@pytest.mark.parametrize("kind", PICKLES)
def test_stored_records_of_a_run(here, capfd, kind):
    for run in ("a", "b"):
        (Path(run) / TEST_RECORDS).parent.mkdir(parents=True)
        (Path(run) / TEST_RECORDS).write_bytes(PICKLES[kind])
    assert "records-test.npz: damaged or not records of a run" in refusal(capfd, "compare", "a", "b")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "http://127.0.0.1:9/x", "a\\b"])
def test_an_index_of_weights_elsewhere(here, capfd, name):
    write_folder(Path("folder"), random_nano())
    Path("folder/model.safetensors").rename("other.safetensors")
    Path("folder/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "model.safetensors.index.json: names" in refusal(capfd, *DETECT, "--weights=folder")
