"""The lean feed-forward part against the plain expression."""

import pytest
import torch
from torch import Tensor, nn

from gdino_lightning.model import feed_forward as module
from gdino_lightning.model.feed_forward import feed_forward


def layers() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(6, 10).double(), nn.Linear(10, 6).double()


def tokens() -> Tensor:
    return torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("keep_hidden", [True, False])
@pytest.mark.parametrize("values", [1, 30, 2**21], ids=["a token at a time", "pieces that do not divide", "at once"])
def test_outputs_and_gradients_are_those_of_the_plain_expression(
    keep_hidden: bool, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEARNING", values)
    monkeypatch.setattr(module, "_LOOKING", values)
    (first, second), given = layers(), tokens()
    weights = [given, *first.parameters(), *second.parameters()]
    plain = second(torch.relu(first(given)))
    lean = feed_forward(given, first, nn.ReLU(), second, drop=0.0, keep_hidden=keep_hidden)
    torch.testing.assert_close(lean, plain)
    with torch.no_grad():
        looked = feed_forward(given, first, nn.ReLU(), second, drop=0.0, keep_hidden=keep_hidden)
    torch.testing.assert_close(looked, plain)
    assert not looked.requires_grad
    wanted = torch.autograd.grad(plain.square().sum(), weights)
    for found, expected in zip(torch.autograd.grad(lean.square().sum(), weights), wanted, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("keep_hidden", [True, False])
def test_what_was_dropped_is_dropped_in_the_gradients_too(keep_hidden: bool) -> None:
    """The bias of a hidden value has a gradient where the outputs show that the value was kept, doubled."""
    first, second = layers()
    given = tokens()[:1, :1]
    hidden = first(given).relu().flatten()
    dropped = feed_forward(given, first, nn.ReLU(), second, drop=0.5, keep_hidden=keep_hidden)
    (found,) = torch.autograd.grad(dropped.sum(), first.bias)
    # which of the hidden values were kept: the outputs are their sum, doubled, one of 2^10
    choices = torch.cartesian_prod(*[torch.tensor([0.0, 2.0], dtype=torch.float64)] * 10)
    sums = (choices * hidden) @ second.weight.T + second.bias
    kept = choices[(sums - dropped.flatten()).abs().amax(-1).argmin()]
    expected = kept * (hidden > 0) * second.weight.sum(0)
    torch.testing.assert_close(found, expected)
    assert found.count_nonzero() < (hidden > 0).count_nonzero()


@pytest.mark.parametrize(("keep_hidden", "expected"), [(False, 14 * 6), (True, 14 * 10)])
def test_only_what_it_says_is_kept(keep_hidden: bool, expected: int) -> None:
    """Counted in values of the tensors that the graph holds."""
    (first, second), given = layers(), tokens().flatten(0, 1)
    held: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        lean = feed_forward(given, first, nn.ReLU(), second, drop=0.0, keep_hidden=keep_hidden)
    weights = {weight.untyped_storage().data_ptr() for layer in (first, second) for weight in layer.parameters()}
    own = {given.untyped_storage().data_ptr()} if keep_hidden else set()
    counted = sum(tensor.numel() for place, tensor in held.items() if place not in weights | own)
    assert lean.requires_grad
    assert counted == expected
