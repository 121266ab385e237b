"""The pretrained miniature as a file of the package."""

from importlib.resources import files

import pytest
import torch

from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.weights import WEIGHTS_NAME, pretrained_nano, save_nano


def test_weights_are_half_precision_of_at_most_eight_megabytes():
    path = files("gdino_lightning.model.nano").joinpath(WEIGHTS_NAME)
    assert path.is_file()
    assert len(path.read_bytes()) <= 8e6


def test_pretrained_weights_are_others_than_random_ones():
    random, pretrained = random_nano().state_dict(), pretrained_nano().state_dict()
    assert random.keys() == pretrained.keys()
    assert all(tensor.dtype != torch.float16 for tensor in pretrained.values())
    moved = [name for name, tensor in pretrained.items() if not torch.equal(tensor, random[name].half().float())]
    assert len(moved) > 0.8 * len(random)


def test_saved_weights_come_back_rounded_to_half_precision(tmp_path, monkeypatch):
    model = random_nano(seed=5)
    save_nano(model, tmp_path / WEIGHTS_NAME)
    monkeypatch.setattr("gdino_lightning.model.nano.weights.files", lambda package: tmp_path)
    loaded = pretrained_nano().state_dict()
    for name, tensor in model.state_dict().items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded[name], wanted), name
    assert next(model.parameters()).dtype == torch.float32


def test_weights_beyond_half_precision_are_refused(tmp_path):
    model = random_nano()
    with torch.no_grad():
        model.model.level_embed[0, 0] = 1e6
    with pytest.raises(ValueError, match="not finite"):
        save_nano(model, tmp_path / WEIGHTS_NAME)
