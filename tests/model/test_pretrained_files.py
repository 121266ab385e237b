"""Files of other programs as weights: any name, any wrapping, nothing run from them."""

import argparse
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from official_files import official_tensors, random_model, same_tensors, write_words
from safetensors.torch import save_file
from transformers import AutoModelForZeroShotObjectDetection

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.convert.unused import read_unused, write_unused
from gdino_lightning.model.convert.write import export_official
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained, load_pretrained
from tests.model.test_pretrained import write_checkpoint, write_folder


@pytest.fixture(scope="module")
def model():
    return random_model(seed=3)


@pytest.fixture(scope="module")
def theirs(model):
    return official_tensors(model)


@pytest.fixture
def beside(tmp_path):
    write_words(tmp_path)
    return tmp_path


WRAPPED = {
    "official.pth": lambda state, path: torch.save({"model": {f"module.{n}": t for n, t in state.items()}}, path),
    "any name.pt": lambda state, path: torch.save({"state_dict": state, "meta": {"epoch": 3}}, path),
    "trainer.bin": lambda state, path: torch.save({"model": state, "args": argparse.Namespace(lr=1e-4)}, path),
    "bare": torch.save,
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "x.safetensors": lambda state, path: save_file({n: t.clone() for n, t in state.items()}, path),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_an_official_file_loads_whatever_its_name_and_wrapping(beside, model, theirs, name):
    WRAPPED[name](theirs, beside / name)
    loaded = load_pretrained(beside / name)
    assert same_tensors(loaded.model.state_dict(), model.state_dict())
    assert loaded.tokenizer.encode("a cup").ids == nano_tokenizer().encode("a cup").ids
    assert sorted(loaded.unused) == [
        "bert.embeddings.position_ids",
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "label_enc.weight",
    ]


def test_what_we_write_for_the_official_code_brings_words_and_the_last_norm_back(tmp_path):
    model = random_nano(seed=5)
    with torch.no_grad():
        model.model.backbone.conv_encoder.model.swin.layernorm.weight.fill_(0.5)
    points = {"scores": [0.4], "nms_ious": [0.6], "temperature": 1.1}
    before = Pretrained(model, nano_tokenizer(), {"cup": "red cup"}, thresholds=points)
    export_official(before, tmp_path / "x.pth", source="nano")
    assert "feat_map.weight" in torch.load(tmp_path / "x.pth")["model"]  # what the official code does with it
    after = load_pretrained(tmp_path / "x.pth")
    assert same_tensors(after.model.state_dict(), model.state_dict())
    assert after.model.config.to_dict() == model.config.to_dict()
    assert (after.phrases, after.thresholds) == (before.phrases, before.thresholds)
    assert after.tokenizer.to_str() == before.tokenizer.to_str()


def test_a_folder_keeps_the_tensors_that_only_the_official_code_has(tmp_path, model, theirs):
    write_folder(tmp_path, model)
    unused = {name: theirs[name] for name in ("label_enc.weight", "bert.embeddings.position_ids")}
    write_unused(tmp_path, unused)
    loaded = load_pretrained(tmp_path)
    assert same_tensors(loaded.unused, unused)
    plain = AutoModelForZeroShotObjectDetection.from_pretrained(tmp_path)  # reads its own file only
    assert same_tensors(plain.state_dict(), model.state_dict())


def test_a_damaged_file_of_unused_tensors_is_named(tmp_path):
    (tmp_path / "unused.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(CheckpointError, match=r"unused\.safetensors: damaged"):
        read_unused(tmp_path)


def test_a_weight_file_of_a_folder_means_the_folder(tmp_path, model):
    write_folder(tmp_path, model)
    assert same_tensors(load_pretrained(tmp_path / "model.safetensors").model.state_dict(), model.state_dict())


def test_a_checkpoint_is_known_by_its_content(tmp_path):
    path = write_checkpoint(tmp_path / "renamed.pth", random_nano(seed=4))
    assert same_tensors(load_pretrained(path).model.state_dict(), random_nano(seed=4).state_dict())


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile-was-run"),))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


FOREIGN = {
    "text": (lambda path: path.write_text("not weights"), "refused|damaged"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "zip": (write_zip, "damaged or not a checkpoint"),
    "hostile": (lambda path: path.write_bytes(pickle.dumps(Hostile())), "refused"),
    "number": (lambda path: torch.save(5, path), "holds no named tensors"),
    "optimizer": (lambda path: torch.save({"model": {"a": torch.ones(1), "b": [1]}}, path), "b among its weights"),
    "classifier": (lambda path: torch.save({"fc.weight": torch.ones(1)}, path), "not a Grounding DINO.*fc.weight"),
    "transformers": (lambda path: torch.save(random_nano().state_dict(), path), "transformers' names.*config.json"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_grounding_dino_is_one_line_and_runs_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make, says = FOREIGN[kind]
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_pretrained(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("hostile-was-run").exists()


@pytest.mark.parametrize("name", ["gone.pth", "folder/gone.pth", "gone.safetensors", "folder/gone.ckpt"])
def test_a_missing_file_is_missing_and_no_hub_id(name):
    with pytest.raises(CheckpointError, match="no such"):
        load_pretrained(name)


def test_weights_of_a_folder_that_the_model_has_not_are_named(tmp_path, caplog):
    model = random_nano()
    write_folder(tmp_path, model)
    model.save_pretrained(tmp_path, state_dict=model.state_dict() | {"extra.0.weight": torch.zeros(2)})
    with caplog.at_level("WARNING", logger="gdino_lightning"):
        load_pretrained(tmp_path)
    assert "not used: extra.0.weight" in caplog.text


def test_a_damaged_description_is_one_line(tmp_path, theirs):
    torch.save({"model": theirs, "gdino": {"config": 5}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="its description is damaged"):
        load_pretrained(tmp_path / "x.pth")
