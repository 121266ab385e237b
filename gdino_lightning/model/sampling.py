"""What deformable attention sees (Deformable DETR, Zhu et al. 2021, eq. 3), as sums of rows: lean on CPUs.

The plain form looks at each level with `grid_sample`, writes every sampled value, then weighs and sums them: at 480x640
px some 100 MB for each picture and encoder layer, kept for the backward pass. But a sampled value is a weighted sum of
four tokens, so what a query gets from a head is one weighted sum of rows of the head's value table, with four rows for
each point. That is what `embedding_bag` computes, without writing a sampled value. Its gradients are sums of the same
kind: for a row, over the queries that looked at it; for a weight, one dot product.

Letters: B pictures, Q queries, S image tokens of all levels, A heads, D width of a head, L levels, P points of a level.
"""

import warnings
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Shapes = tuple[tuple[int, int], ...]


def sample_rows(value: Tensor, places: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
    """Sum what every query sees, at least in float32.

    Args:
        value: (B, S, A, D) tokens of all levels.
        places: (B, Q, A, L, P, 2) x and y in tokens: 0 is the centre of the first one; outside of a level all is 0.
        weights: (B, Q, A, L, P).
        shapes: Height and width of each level, in tokens.

    Returns:
        (B, Q, A * D) of the dtype of `value`.
    """
    wide = torch.promote_types(value.dtype, torch.float32)
    sampled: Tensor = _RowSums.apply(value.to(wide), places.to(wide), weights.to(wide), shapes)  # type: ignore[no-untyped-call]
    return sampled.to(value.dtype)


class _RowSums(Function):
    """The sums and their gradients; of the forward pass only its inputs are kept."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, places: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, places, weights)
        ctx.shapes = shapes
        batch, queries, heads, levels, points, _ = places.shape
        tables = _Tables.of(shapes, points)
        table = tables.laid_out(value)
        starts = torch.arange(0, queries * tables.looks + 1, tables.looks, dtype=torch.int32)
        sampled = value.new_empty(batch, queries, heads, value.shape[-1])
        for b in range(batch):
            for head in range(heads):  # what one head of a picture needs stays in the processor's cache
                rows, shares = tables.corners(places[b, :, head])
                looks = tables.weighted(shares, weights[b, :, head].reshape(queries, levels * points))
                sampled[b, :, head] = _sums(table[b, head], rows, starts, looks)
        return sampled.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        value, places, weights = ctx.saved_tensors
        batch, queries, heads, levels, points, _ = places.shape
        tables = _Tables.of(ctx.shapes, points)
        table = tables.laid_out(value)
        starts = torch.arange(0, queries * tables.looks + 1, tables.looks, dtype=torch.int32)
        every_row = torch.arange(table.shape[2] + 1, dtype=torch.int32)
        grad = grad.unflatten(2, (heads, -1)).transpose(1, 2).contiguous()
        of_table, of_places, of_weights = map(torch.empty_like, (table, places, weights))
        for b in range(batch):
            for head in range(heads):
                attention = weights[b, :, head].reshape(queries, levels * points)
                rows, shares = tables.corners(places[b, :, head])
                looks = tables.weighted(shares, attention)
                seen = _dots(grad[b, head], table[b, head], rows, starts).view_as(looks)
                of_place, of_attention = _through_bilinear(seen, shares, attention)
                of_place = of_place.flatten(1) * tables.moves(places[b, :, head])
                of_places[b, :, head] = of_place.view(queries, levels, points, 2)
                of_weights[b, :, head] = of_attention.view(queries, levels, points)
                # who looked at a row: looks in the order of their rows
                found, order = rows.view(-1).sort()
                first = torch.searchsorted(found, every_row, out_int32=True)
                lookers = order.div(tables.looks, rounding_mode="floor").int()
                of_table[b, head] = _sums(grad[b, head], lookers, first, looks.view(-1)[order])
        return tables.taken_back(of_table), of_places, of_weights, None


class _Tables:
    """Where the tokens of all levels lie in a head's value table: each level within a border of zeros.

    With a border of one token above and left, and of two below and right, all four corners of a place clamped to
    [-1, size] are there, and no corner has to be masked.
    """

    def __init__(self, shapes: Shapes, points: int) -> None:
        self.shapes = shapes
        self.points = points
        self.looks = 4 * len(shapes) * points  # rows that a query looks at

    @staticmethod
    @lru_cache(maxsize=256)  # canvases of a run; some kB each
    def of(shapes: Shapes, points: int) -> "_Tables":
        return _Tables(shapes, points)

    @cached_property
    def starts(self) -> list[int]:
        """First row of each level, and the number of all rows."""
        starts = [0]
        for height, width in self.shapes:
            starts.append(starts[-1] + (height + 3) * (width + 3))
        return starts

    @cached_property
    def sizes(self) -> Tensor:
        """(L * P * 2,) width and height of the level of each point, in tokens."""
        return self._by_point([[width, height] for height, width in self.shapes]).flatten()

    @cached_property
    def pitch(self) -> Tensor:
        """(L * P,) rows from a token to the one below it."""
        return self._by_point([width + 3 for _, width in self.shapes])

    @cached_property
    def origin(self) -> Tensor:
        """(L * P,) row of the first token of each point's level."""
        return self._by_point([start + width + 4 for start, (_, width) in zip(self.starts, self.shapes, strict=False)])

    @cached_property
    def steps(self) -> Tensor:
        """(4, L * P) int32 rows from the upper left corner to each of the four."""
        one = torch.ones_like(self.pitch)
        return torch.stack([0 * one, one, self.pitch, self.pitch + 1]).int()

    def laid_out(self, value: Tensor) -> Tensor:
        """Lay tokens out as tables: (B, S, A, D) -> (B, A, rows, D)."""
        batch, _, heads, width = value.shape
        table = value.new_zeros(batch, heads, self.starts[-1], width)
        for inner, tokens in zip(self._levels(table), self._split(value), strict=True):
            inner.copy_(tokens)
        return table

    def taken_back(self, table: Tensor) -> Tensor:
        """Take tokens out of their borders: (B, A, rows, D) -> (B, S, A, D)."""
        return torch.cat([inner.permute(0, 2, 3, 1, 4).flatten(1, 2) for inner in self._levels(table)], dim=1)

    def corners(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Find the four tokens around each place.

        Args:
            places: (Q, L, P, 2), in tokens.

        Returns:
            (Q, 4, L * P) int32 rows, and (Q, L * P, 2) shares of the right and lower ones.
        """
        places = places.flatten(1)
        inside = places.clamp(min=-1.0).minimum(self.sizes)
        low = inside.floor()
        shares = inside.sub_(low).unflatten(1, (-1, 2))
        low = low.unflatten(1, (-1, 2))
        first = torch.addcmul(self.origin, low[..., 1], self.pitch).add_(low[..., 0]).int()
        first.clamp_(min=0)  # of a place that is no number; its shares are none either, and so is what is seen
        return first[:, None] + self.steps, shares

    def moves(self, places: Tensor) -> Tensor:
        """Tell where a small move changes what is seen: (Q, L, P, 2) -> (Q, L * P * 2) bool."""
        places = places.flatten(1)
        return (places > -1) & (places < self.sizes)

    def weighted(self, shares: Tensor, attention: Tensor) -> Tensor:
        """Bilinear weights times attention: (Q, L * P, 2), (Q, L * P) -> (Q, 4, L * P)."""
        right, lower = shares.unbind(-1)
        looks = attention.new_empty(len(attention), 4, attention.shape[1])
        below = attention * lower
        above = attention - below
        for corner, row in ((0, above), (2, below)):
            torch.mul(row, right, out=looks[:, corner + 1])
            torch.sub(row, looks[:, corner + 1], out=looks[:, corner])
        return looks

    def _levels(self, table: Tensor) -> list[Tensor]:
        """The levels of a table, without their borders: (B, A, height, width, D) each."""
        found = []
        for start, (height, width) in zip(self.starts, self.shapes, strict=False):
            level = table[:, :, start : start + (height + 3) * (width + 3)].unflatten(2, (height + 3, width + 3))
            found.append(level[:, :, 1 : height + 1, 1 : width + 1])
        return found

    def _split(self, value: Tensor) -> list[Tensor]:
        """The levels of tokens (B, S, A, D): (B, A, height, width, D) each."""
        levels = zip(value.split([height * width for height, width in self.shapes], dim=1), self.shapes, strict=True)
        return [level.unflatten(1, shape).permute(0, 3, 1, 2, 4) for level, shape in levels]

    def _by_point(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).repeat_interleave(self.points, dim=0)


def _sums(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows; sum i is over the entries from `starts[i]` to `starts[i + 1]`."""
    return F.embedding_bag(
        rows.view(-1), table, starts, mode="sum", per_sample_weights=weights.view(-1), include_last_offset=True
    )


def _dots(queries: Tensor, table: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
    """Dot product of each query (Q, D) with each of its rows of a table (rows, D): as many as there are looks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        looks = torch.sparse_csr_tensor(
            starts,
            rows.view(-1),
            queries.new_zeros(rows.numel()),
            size=(len(queries), len(table)),
            check_invariants=False,
        )
    dots: Tensor = torch.sparse.sampled_addmm(looks, queries, table.T, beta=0.0)
    return dots.values()


def _through_bilinear(seen: Tensor, shares: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of place and attention: (Q, 4, L * P), (Q, L * P, 2), (Q, L * P) -> (Q, L * P, 2), (Q, L * P)."""
    upper_left, upper_right, lower_left, lower_right = seen.unbind(1)
    right, lower = shares.unbind(-1)
    across, down = upper_right - upper_left, lower_left - upper_left
    twist = lower_right - lower_left - across
    of_attention = upper_left + across * right + (down + twist * right) * lower
    of_place = torch.stack([across + twist * lower, down + twist * right], dim=-1)
    return of_place * attention[..., None], of_attention
