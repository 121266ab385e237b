"""The Triton kernels against row sums. Where there is no GPU, Triton's interpreter runs them on the CPU:

TRITON_INTERPRET=1 python -m pytest tests/model/test_kernels.py   # after: pip install triton
"""

import os

import pytest
import torch
from torch import Tensor

from gdino_lightning.model.sampling import sample_rows

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (INTERPRETED or torch.cuda.is_available()), reason="needs a CUDA device"),
]
SHAPES = ((5, 7), (3, 4), (1, 1))
STARTS = (0, 35, 47)
DEVICE = "cpu" if INTERPRETED else "cuda"


def draw(dtype: torch.dtype, *, queries: int = 45, spread: float = 4.0) -> list[Tensor]:
    """Value, places in tokens and weights; the queries are no multiple of a block."""
    rng = torch.Generator().manual_seed(0)
    value = torch.randn(2, 48, 2, 8, generator=rng)
    places = torch.randn(2, queries, 2, len(SHAPES), 4, 2, generator=rng) * spread + 2
    weights = torch.rand(2, queries, 2, len(SHAPES), 4, generator=rng)
    return [each.to(DEVICE).requires_grad_() for each in (value.to(dtype), places, weights)]


def fused(value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    from gdino_lightning.model.kernels import sample_fused

    shapes, starts = torch.tensor(SHAPES, device=DEVICE), torch.tensor(STARTS, device=DEVICE)
    return sample_fused(value, places, weights, shapes, starts)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
@pytest.mark.parametrize("spread", [1.0, 4.0, 1e6])
def test_sums_and_gradients_are_those_of_rows(dtype: torch.dtype, error: float, spread: float) -> None:
    """In bfloat16 the sums are rounded once, as those of rows are; what is left is the order of float32 sums."""
    inputs = draw(dtype, spread=spread)
    on_cpu = [each.detach().cpu().requires_grad_() for each in inputs]
    found, wanted = fused(*inputs), sample_rows(*on_cpu, SHAPES)
    assert found.dtype == dtype
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    pairs = [(found, wanted)]
    pairs += zip(
        torch.autograd.grad(found, inputs, slope.to(DEVICE)), torch.autograd.grad(wanted, on_cpu, slope), strict=True
    )
    for ours, theirs in pairs:
        least = 1.0 if dtype == torch.float32 else 8.0  # a step of bfloat16 is 2^-8 of its number
        assert (ours.cpu() - theirs).abs().max() <= least * error * theirs.abs().max().clamp(min=1)


def test_what_is_no_number_reads_no_other_memory() -> None:
    value, places, weights = (each.detach() for each in draw(torch.float32))
    places[0, 0], weights[0, 0] = float("nan"), float("nan")
    places[0, 1] = float("inf")
    seen = fused(value, places, weights).cpu()
    assert seen[0, 0].isnan().all()
    assert seen[0, 1].eq(0).all()
    assert seen[0, 2:].isfinite().all()
