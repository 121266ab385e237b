import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer
from transformers import GroundingDinoForObjectDetection, PreTrainedTokenizerFast

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.nano.weights import pretrained_nano
from gdino_lightning.model.pretrained import (
    STATE_PREFIX,
    check_same_architecture,
    describe,
    load_pretrained,
    read_checkpoint,
)

PHRASES = {"cup": "a red cup"}


def write_checkpoint(path: Path, model: GroundingDinoForObjectDetection) -> Path:
    state = {STATE_PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "gdino": describe(GroundingDetector(model), nano_tokenizer(), PHRASES)}, path)
    return path


def write_folder(path: Path, model: GroundingDinoForObjectDetection) -> Path:
    model.save_pretrained(path)
    PreTrainedTokenizerFast(
        tokenizer_object=nano_tokenizer(),
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(path)
    return path


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    other = b.state_dict()
    return a.state_dict().keys() == other.keys() and all(torch.equal(t, other[n]) for n, t in a.state_dict().items())


@pytest.mark.parametrize("write", [write_checkpoint, write_folder])
def test_weights_and_words_come_back_to_the_bit(tmp_path, write):
    model = random_nano(seed=7)
    source = write(tmp_path / "model.ckpt" if write is write_checkpoint else tmp_path, model)
    loaded = load_pretrained(source)
    assert same_weights(loaded.model, model)
    assert loaded.tokenizer.encode("a red cup .").ids == nano_tokenizer().encode("a red cup .").ids
    assert loaded.phrases == (PHRASES if write is write_checkpoint else None)


def test_a_run_folder_means_its_best_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    write_checkpoint(tmp_path / "checkpoints" / "best.ckpt", random_nano(seed=8))
    assert same_weights(load_pretrained(tmp_path).model, random_nano(seed=8))


def test_a_description_is_plain_and_rebuilds_the_tokenizer():
    description = describe(GroundingDetector(random_nano()), nano_tokenizer(), PHRASES)
    assert json.loads(json.dumps(description)) == description
    assert Tokenizer.from_str(description["tokenizer"]).get_vocab() == nano_tokenizer().get_vocab()


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile-was-run"),))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_text("<html>404</html>"), "is a web page, not weights"),
        (lambda path: path.write_bytes(pickle.dumps(Hostile())), "refused|damaged"),
        (lambda path: torch.save({"state_dict": {}, "x": Hostile()}, path), "refused"),
        (lambda path: torch.save({"state_dict": {}}, path), "not a checkpoint of gdino-lightning"),
        (lambda path: None, "no such checkpoint"),
    ],
)
def test_unusable_checkpoints_are_named_and_run_nothing(tmp_path, monkeypatch, make, says):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.ckpt"
    make(path)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("hostile-was-run").exists()


def test_truncated_checkpoint_is_damaged(tmp_path):
    path = write_checkpoint(tmp_path / "cut.ckpt", random_nano())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("offline", [True, False])
def test_an_unreachable_hub_names_both_ways_out_at_once(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        load_pretrained("IDEA-Research/no-such-model")
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    assert "\n" not in message
    assert ("HF_HUB_OFFLINE" in message) == offline
    assert "no such folder" in message
    assert "give the folder" in message
    assert "configs/sample.yaml" in message


@pytest.mark.parametrize("source", ["./nowhere", "nowhere", "weights.pth"])
def test_a_missing_source_lists_what_is_accepted(source):
    with pytest.raises(CheckpointError, match=r"folder"):
        load_pretrained(source)


def test_a_folder_with_missing_weights_is_refused(tmp_path):
    model = random_nano()
    folder = write_folder(tmp_path, model)
    kept = {n: t for n, t in model.state_dict().items() if "enc_output" not in n}
    model.save_pretrained(folder, state_dict=kept)
    with pytest.raises(CheckpointError, match="missing"):
        load_pretrained(folder)


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type is 'bert'"):
        load_pretrained(tmp_path)


def test_weights_trained_without_a_part_come_back_with_learned_anchors_and_are_refused_with_it(tmp_path):
    detector = GroundingDetector(random_nano(seed=3), Switches(text_guided_queries=False, fusion=False))
    with torch.no_grad():
        detector.model.model.reference_points.weight.add_(1)
    state = {STATE_PREFIX + name: tensor for name, tensor in detector.model.state_dict().items()}
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": state, "gdino": describe(detector, nano_tokenizer(), PHRASES)}, path)
    loaded = load_pretrained(path)
    assert torch.equal(loaded.model.model.reference_points.weight, detector.model.model.reference_points.weight)
    check_same_architecture(loaded.architecture, detector.switches)
    with pytest.raises(CheckpointError, match=r"--model\.fusion false --model\.text_guided_queries false"):
        check_same_architecture(loaded.architecture, Switches())


@pytest.mark.parametrize(("name", "build"), [("nano", pretrained_nano), ("nano-random", random_nano)])
def test_each_name_of_the_miniature_loads_its_own_weights(name, build):
    loaded = load_pretrained(name)
    assert same_weights(loaded.model, build())
    assert loaded.phrases is None
    assert loaded.tokenizer.get_vocab() == nano_tokenizer().get_vocab()
