"""Which pictures an epoch asks for where some come in a share of the epochs only."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class _Draw:
    """So many of some pictures in each epoch, in turn: none comes again before all had their turn."""

    candidates: tuple[int, ...]
    number: int
    seed: tuple[int, ...]

    def of_epoch(self, epoch: int) -> list[int]:
        size = len(self.candidates)
        turns = range(epoch * self.number, (epoch + 1) * self.number)
        orders = {
            cycle: np.random.default_rng((*self.seed, cycle)).permutation(size)
            for cycle in range(turns.start // size, (turns.stop - 1) // size + 1)
        }
        return [self.candidates[orders[turn // size][turn % size]] for turn in turns]


class Shares:
    """Deals the pictures to epochs, so that every epoch has the same number in every group.

    Pictures of one weight below 1 are gathered from neighbouring groups until their share is a whole picture or more;
    what is drawn of them counts to the last of those groups.

    Args:
        groups: Indices of pictures; neighbours are alike.
        weights: Share of the epochs for each picture, above 0 and at most 1.
        seed: What the order of the turns follows from.
    """

    def __init__(self, groups: Sequence[Sequence[int]], weights: Sequence[float], seed: int) -> None:
        self._weights = weights
        self._always = [[index for index in group if weights[index] == 1] for group in groups]
        self._draws: list[list[_Draw]] = [[] for _ in groups]
        for order, weight in enumerate(sorted({weight for weight in weights if weight < 1})):
            self._deal(groups, weight, (seed, order))

    @property
    def settings(self) -> dict[str, Any]:
        """What the shares follow from, in plain types; nothing where every picture is in every epoch."""
        if all(weight == 1 for weight in self._weights):
            return {}
        return {"weights": hashlib.sha256(repr(list(self._weights)).encode()).hexdigest()}

    def of_epoch(self, epoch: int) -> list[list[int]]:
        """The pictures of an epoch, group by group; groups without any are left out."""
        groups = (
            [*always, *(index for draw in draws for index in draw.of_epoch(epoch))]
            for always, draws in zip(self._always, self._draws, strict=True)
        )
        return [group for group in groups if group]

    def _deal(self, groups: Sequence[Sequence[int]], weight: float, seed: tuple[int, int]) -> None:
        pools: dict[int, tuple[list[int], int]] = {}  # by the group that they count to
        waiting: list[int] = []
        seen = dealt = 0
        for place, group in enumerate(groups):
            own = [index for index in group if self._weights[index] == weight]
            waiting, seen = waiting + own, seen + len(own)
            if own and (number := int(weight * seen + 0.5) - dealt):
                pools[place] = waiting, number
                waiting, dealt = [], dealt + number
                last = place
            elif own and not pools:
                last = place
        if waiting:  # less than a picture is left: they take turns with the last ones
            candidates, number = pools.get(last, ([], 1))
            pools[last] = candidates + waiting, number
        for place, (candidates, number) in pools.items():
            self._draws[place].append(_Draw(tuple(candidates), number, (*seed, place)))
