"""Gradients that are not finite are refused with the names of weights and pictures."""

import pytest
import torch
from torch import nn

from gdino_lightning.training.gradients import check_gradients


def weights(*gradients: float | None) -> list[tuple[str, nn.Parameter]]:
    named = [(f"w{i}", nn.Parameter(torch.zeros(3))) for i in range(len(gradients))]
    for (_, weight), gradient in zip(named, gradients, strict=True):
        weight.grad = None if gradient is None else torch.tensor([0.0, gradient, 0.0])
    return named


def test_finite_gradients_and_missing_ones_are_left_alone():
    named = weights(1.0, None, -(2.0**60))
    check_gradients(named, ["a.png (1 box)"])
    assert [None if weight.grad is None else weight.grad[1].item() for _, weight in named] == [1.0, None, -(2.0**60)]
    check_gradients(weights(None), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_others_are_named_a_few_of_many(value):
    says = (
        r"not finite \(w1, w2, w3 and 1 more\); pictures: a\.png \(1 box\); b\.png \(0 boxes\); lower model\.learning"
    )
    with pytest.raises(FloatingPointError, match=says):
        check_gradients(weights(1.0, value, value, value, value), ["a.png (1 box)", "b.png (0 boxes)"])


def test_a_norm_beyond_float32_is_refused_too():
    with pytest.raises(FloatingPointError, match=r"not finite \(its norm\)"):
        check_gradients(weights(1e38, 3e38), [])
