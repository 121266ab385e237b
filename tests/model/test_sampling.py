"""Row sums against transformers' sampler, values counted by hand, and finite differences."""

import pytest
import torch
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import MultiScaleDeformableAttention

from gdino_lightning.model.sampling import sample_rows

SHAPES = ((5, 7), (3, 4), (1, 1))  # no level is square, one is a single token
HEADS, WIDTH, POINTS = 2, 3, 4


def draw(
    *, batch: int = 2, queries: int = 6, spread: float = 0.5, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, locations from 0 to 1 (and beyond) over a level, and weights, as transformers' sampler takes them."""
    rng = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in SHAPES)
    value = torch.randn(batch, tokens, HEADS, WIDTH, generator=rng, dtype=dtype)
    locations = torch.randn(batch, queries, HEADS, len(SHAPES), POINTS, 2, generator=rng, dtype=dtype) * spread + 0.5
    weights = torch.rand(batch, queries, HEADS, len(SHAPES), POINTS, generator=rng, dtype=dtype)
    return value, locations, weights


def in_tokens(locations: Tensor) -> Tensor:
    sizes = torch.tensor([[width, height] for height, width in SHAPES], dtype=locations.dtype)
    return locations * sizes[:, None] - 0.5


def of_transformers(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    sampler = MultiScaleDeformableAttention()
    sampled: Tensor = sampler(value, torch.tensor(SHAPES), list(SHAPES), torch.tensor([0]), locations, weights, 64)
    return sampled


@pytest.mark.parametrize("spread", [0.2, 0.5, 30.0], ids=["inside", "over the edges", "far outside"])
def test_sums_and_gradients_are_those_of_transformers_sampler(spread: float) -> None:
    inputs = [tensor.requires_grad_() for tensor in draw(spread=spread)]
    wanted = of_transformers(*inputs)
    value, locations, weights = inputs
    found = sample_rows(value, in_tokens(locations), weights, SHAPES)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    for got, expected in zip(
        torch.autograd.grad(found, inputs, slope), torch.autograd.grad(wanted, inputs, slope), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    value, locations, weights = (each.requires_grad_() for each in draw(batch=1, queries=3, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda v, places, w: sample_rows(v, places, w, SHAPES), (value, in_tokens(locations), weights)
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0.0, 0.0), 1.0),
        ((0.5, 0.5), 2.5),
        ((1.0, 0.25), 2.5),
        ((-0.5, 0.0), 0.5),
        ((1.5, 1.5), 1.0),
        ((2.0, 0.0), 0.0),
    ],
)
def test_a_place_is_worth_what_a_hand_counts(place: tuple[float, float], expected: float) -> None:
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)  # one level: 1 2 above 3 4
    seen = sample_rows(value, torch.tensor(place).view(1, 1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1, 1), ((2, 2),))
    assert seen.item() == pytest.approx(expected)


def test_what_is_no_number_is_seen_and_reads_no_other_memory() -> None:
    value, locations, weights = draw()
    locations[0, 0] = float("nan")
    locations[0, 1] = float("inf")
    seen = sample_rows(value, in_tokens(locations), weights, SHAPES)
    assert seen[0, 0].isnan().all()
    assert seen[0, 1].eq(0).all()
    assert seen[0, 2:].isfinite().all()
    assert seen[1].isfinite().all()


def test_half_precision_is_summed_in_float32_and_given_back_as_it_came() -> None:
    value, locations, weights = draw()
    rounded = value.bfloat16()
    seen = sample_rows(rounded, in_tokens(locations), weights, SHAPES)
    assert seen.dtype == torch.bfloat16
    torch.testing.assert_close(seen, of_transformers(rounded.float(), locations, weights).bfloat16())


def test_sampling_warns_of_nothing_and_serves_training_after_inference(recwarn: pytest.WarningsRecorder) -> None:
    value, locations, weights = draw()
    with torch.inference_mode():
        before = sample_rows(value, in_tokens(locations), weights, SHAPES)
    learned = value.clone().requires_grad_()
    after = sample_rows(learned, in_tokens(locations), weights, SHAPES)
    after.sum().backward()
    assert torch.equal(before, after.detach())
    assert learned.grad is not None
    assert not recwarn.list
