"""Random pictures and the measure by which outputs are compared."""

import torch
from torch import Tensor


def pictures(
    batch: int = 2, height: int = 96, width: int = 128, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Random pixels (B, 3, H, W) and their mask (B, H, W); the last picture is smaller than its canvas."""
    generator = torch.Generator().manual_seed(5)
    mask = torch.ones(batch, height, width, dtype=torch.bool)
    mask[-1, int(0.73 * height) :] = False
    mask[-1, :, int(0.78 * width) :] = False
    return torch.randn(batch, 3, height, width, generator=generator).to(dtype) * mask[:, None], mask


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest finite value; infinite where infinities are not in the same places."""
    finite = theirs.isfinite()
    if not torch.equal(ours.isfinite(), finite):
        return float("inf")
    return float((ours - theirs)[finite].detach().abs().max() / theirs[finite].detach().abs().max())
