"""What deformable attention sees, in one Triton kernel forward and one backward, for CUDA GPUs.

A program handles a block of queries of one head: it adds up the four corners of every place in registers, and nothing
sampled is written. The backward kernel reads the corners again; where several queries saw a token, their gradients are
added atomically in float32, so that their last bits depend on the order of the programs.

This module imports triton, so it is imported only where its kernels are asked for.

Letters: B pictures, Q queries, S image tokens of all levels, A heads, D width of a head, L levels, P points of a level.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_BLOCK = 32  # queries of a program


def sample_fused(value: Tensor, places: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor) -> Tensor:
    """Sum what every query sees; sums are float32, whatever the precision of `value`.

    Args:
        value: (B, S, A, D) tokens of all levels; D is a power of two.
        places: (B, Q, A, L, P, 2) x and y in tokens: 0 is the centre of the first one; outside of a level all is 0.
        weights: (B, Q, A, L, P).
        shapes: (L, 2) int64 height and width of each level, in tokens.
        starts: (L,) int64 first token of each level.

    Returns:
        (B, Q, A * D) of the dtype of `value`.
    """
    sampled: Tensor = _Fused.apply(value, places.float(), weights.float(), shapes, starts)
    return sampled


class _Fused(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, places: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor) -> Tensor:
        value, places, weights = value.contiguous(), places.contiguous(), weights.contiguous()
        shapes, starts = shapes.int(), starts.int()
        ctx.save_for_backward(value, places, weights, shapes, starts)
        batch, queries, heads, levels, points, _ = places.shape
        sampled = value.new_empty(batch, queries, heads * value.shape[-1])
        grid = (batch * heads, triton.cdiv(queries, _BLOCK))
        _forward[grid](
            value,
            places,
            weights,
            shapes,
            starts,
            sampled,
            value.shape[1],
            queries,
            heads,
            LEVELS=levels,
            POINTS=points,
            WIDTH=value.shape[-1],
            BLOCK=_BLOCK,
        )
        return sampled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        value, places, weights, shapes, starts = ctx.saved_tensors
        batch, queries, heads, levels, points, _ = places.shape
        of_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
        of_places, of_weights = torch.empty_like(places), torch.empty_like(weights)
        grid = (batch * heads, triton.cdiv(queries, _BLOCK))
        _backward[grid](
            value,
            places,
            weights,
            shapes,
            starts,
            grad.contiguous(),
            of_value,
            of_places,
            of_weights,
            value.shape[1],
            queries,
            heads,
            LEVELS=levels,
            POINTS=points,
            WIDTH=value.shape[-1],
            BLOCK=_BLOCK,
        )
        return of_value.to(value.dtype), of_places, of_weights, None, None


@triton.jit
def _side(place, size, wanted):
    """Read one coordinate of each query's place: the token before it, and the share of the one after it."""
    # far outside is as good as just outside, and fits into an integer
    along = tl.minimum(tl.maximum(tl.load(place, mask=wanted, other=-2.0), -2.0), size + 1.0)
    before = tl.floor(along)
    return before.to(tl.int32), along - before


@triton.jit
def _corner(value, row, column, start, height, width, base, heads, channels, WIDTH: tl.constexpr, wanted):
    """Read a token of each query of the block: where they are, which of them are there, (BLOCK, WIDTH) float32."""
    there = wanted & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    places = base + (start + row * width + column)[:, None] * heads * WIDTH + channels[None, :]
    return places, there, tl.load(value + places, mask=there[:, None], other=0.0).to(tl.float32)


@triton.jit
def _forward(
    value,
    places,
    weights,
    shapes,
    starts,
    sampled,
    tokens,
    queries,
    heads,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    picture, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    query = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wanted = query < queries
    channels = tl.arange(0, WIDTH)
    base = (picture.to(tl.int64) * tokens * heads + head) * WIDTH
    own = (picture.to(tl.int64) * queries + query) * heads + head
    total = tl.zeros((BLOCK, WIDTH), dtype=tl.float32)
    for level in range(LEVELS):
        height, width = tl.load(shapes + 2 * level), tl.load(shapes + 2 * level + 1)
        start = tl.load(starts + level)
        for point in range(POINTS):
            place = own * (LEVELS * POINTS) + level * POINTS + point
            weight = tl.load(weights + place, mask=wanted, other=0.0)
            column, right = _side(places + 2 * place, width, wanted)
            row, lower = _side(places + 2 * place + 1, height, wanted)
            _, _, one = _corner(value, row, column, start, height, width, base, heads, channels, WIDTH, wanted)
            _, _, two = _corner(value, row, column + 1, start, height, width, base, heads, channels, WIDTH, wanted)
            _, _, three = _corner(value, row + 1, column, start, height, width, base, heads, channels, WIDTH, wanted)
            _, _, four = _corner(value, row + 1, column + 1, start, height, width, base, heads, channels, WIDTH, wanted)
            above = one * (1 - right)[:, None] + two * right[:, None]
            below = three * (1 - right)[:, None] + four * right[:, None]
            total += (above * (1 - lower)[:, None] + below * lower[:, None]) * weight[:, None]
    tl.store(sampled + own[:, None] * WIDTH + channels[None, :], total, mask=wanted[:, None])


@triton.jit
def _backward(
    value,
    places,
    weights,
    shapes,
    starts,
    grad,
    of_value,
    of_places,
    of_weights,
    tokens,
    queries,
    heads,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    picture, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    query = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wanted = query < queries
    channels = tl.arange(0, WIDTH)
    base = (picture.to(tl.int64) * tokens * heads + head) * WIDTH
    own = (picture.to(tl.int64) * queries + query) * heads + head
    slope = tl.load(grad + own[:, None] * WIDTH + channels[None, :], mask=wanted[:, None], other=0.0).to(tl.float32)
    for level in range(LEVELS):
        height, width = tl.load(shapes + 2 * level), tl.load(shapes + 2 * level + 1)
        start = tl.load(starts + level)
        for point in range(POINTS):
            place = own * (LEVELS * POINTS) + level * POINTS + point
            weight = tl.load(weights + place, mask=wanted, other=0.0)
            column, right = _side(places + 2 * place, width, wanted)
            row, lower = _side(places + 2 * place + 1, height, wanted)
            at1, has1, one = _corner(value, row, column, start, height, width, base, heads, channels, WIDTH, wanted)
            at2, has2, two = _corner(value, row, column + 1, start, height, width, base, heads, channels, WIDTH, wanted)
            at3, has3, three = _corner(
                value, row + 1, column, start, height, width, base, heads, channels, WIDTH, wanted
            )
            at4, has4, four = _corner(
                value, row + 1, column + 1, start, height, width, base, heads, channels, WIDTH, wanted
            )
            seen1, seen2 = tl.sum(one * slope, axis=1), tl.sum(two * slope, axis=1)
            seen3, seen4 = tl.sum(three * slope, axis=1), tl.sum(four * slope, axis=1)
            above, below = seen1 + (seen2 - seen1) * right, seen3 + (seen4 - seen3) * right
            tl.store(of_weights + place, above + (below - above) * lower, mask=wanted)
            across = (seen2 - seen1) * (1 - lower) + (seen4 - seen3) * lower
            tl.store(of_places + 2 * place, across * weight, mask=wanted)
            tl.store(of_places + 2 * place + 1, (below - above) * weight, mask=wanted)
            push = slope * weight[:, None]
            tl.atomic_add(of_value + at1, push * ((1 - right) * (1 - lower))[:, None], mask=has1[:, None])
            tl.atomic_add(of_value + at2, push * (right * (1 - lower))[:, None], mask=has2[:, None])
            tl.atomic_add(of_value + at3, push * ((1 - right) * lower)[:, None], mask=has3[:, None])
            tl.atomic_add(of_value + at4, push * (right * lower)[:, None], mask=has4[:, None])
