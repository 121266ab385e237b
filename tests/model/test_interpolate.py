"""Weights between two models: the ends exactly, the middle by hand, and what cannot be mixed."""

import pytest
import torch

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.interpolate import interpolate, interpolate_checkpoint
from gdino_lightning.model.nano import random_nano


def test_a_quarter_of_the_way():
    start = {"w": torch.tensor([0.0, 4.0]), "index": torch.tensor([1, 2])}
    end = {"w": torch.tensor([8.0, 0.0]), "index": torch.tensor([3, 4])}
    mixed = interpolate(start, end, 0.25)
    assert mixed["w"].tolist() == [2.0, 3.0]
    assert mixed["index"].tolist() == [3, 4]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_both_ends_are_exact(alpha):
    start, end = random_nano(seed=1).state_dict(), random_nano(seed=2).state_dict()
    mixed = interpolate(start, end, alpha)
    for name, weight in (end if alpha else start).items():
        if weight.is_floating_point():
            assert torch.equal(mixed[name], weight), name


def test_a_mixture_loads_and_lies_between():
    start, end = random_nano(seed=1), random_nano(seed=2)
    mixed = random_nano(seed=3)
    mixed.load_state_dict(interpolate(start.state_dict(), end.state_dict(), 0.5))
    for between, one, other in zip(mixed.parameters(), start.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(between, (one + other) / 2)


def test_only_the_detector_of_a_checkpoint_is_mixed_and_the_checkpoint_stays_as_it_is():
    state = {"detector.model.w": torch.ones(2), "other": torch.ones(2)}
    checkpoint = {"state_dict": state, "epoch": 3}
    mixed = interpolate_checkpoint(checkpoint, {"w": torch.zeros(2)}, 0.5)
    assert mixed["epoch"] == 3
    assert mixed["state_dict"]["detector.model.w"].tolist() == [0.5, 0.5]
    assert mixed["state_dict"]["other"].tolist() == [1.0, 1.0]
    assert checkpoint["state_dict"]["detector.model.w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("start", [{"v": torch.ones(2)}, {"w": torch.ones(3)}, {}])
def test_weights_of_another_architecture_are_refused_by_name(start):
    with pytest.raises(CheckpointError, match=r"weights are absent .*w.*one architecture"):
        interpolate(start, {"w": torch.ones(2)}, 0.5)
