"""Seeded splits that depend on the names and the seed alone, never on the order of a directory listing.

`split_names` is plainly random, `split_grouped` keeps groups of pictures on one side, `split_stratified` keeps the
shares of the classes as well.

The shuffle is a Fisher-Yates written out here over `random.Random(seed).random()`: Python promises that this
sequence never changes between versions, which it does not promise for `random.shuffle`, nor NumPy for its
distributions.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gdino_lightning.data.fields import byte_order
from gdino_lightning.errors import DatasetError

Labels = Mapping[str, Sequence[str]]
"""Picture name -> the class name of each of its boxes; no class name for a negative."""

Sides = tuple[list[str], list[str]]
"""The names of the two sides of a split, each sorted by their bytes."""

_Unit = tuple[str, ...]  # pictures that stay together; most are alone
_Strata = Mapping[str, Counter[tuple[str, str]]]  # picture name -> what of it is counted


def split_names(names: Iterable[str], num_train: int, seed: int) -> Sides:
    """Split picture names into train and test.

    Args:
        names: Distinct names, in any order.
        num_train: How many go to train, from 1 to one less than there are; the rest goes to test.
        seed: Whole number that picks the split.

    Returns:
        The names of train and of test, each sorted by their bytes.

    Raises:
        DatasetError: `num_train` leaves one side empty, or a name appears twice.
    """
    shuffled = shuffle(names, seed)
    _check_num_train(num_train, len(shuffled))
    return sorted(shuffled[:num_train], key=byte_order), sorted(shuffled[num_train:], key=byte_order)


def split_grouped(names: Iterable[str], groups: Iterable[Sequence[str]], num_train: int, seed: int) -> Sides:
    """Split as `split_names` does, with the pictures of a group on one side.

    Without groups the result is that of `split_names`. Train gets exactly `num_train` pictures if whole groups can
    add up to it, else the nearest number that they can add up to.

    Args:
        names: Distinct names, in any order.
        groups: Disjoint groups of some of the names; pictures in none are alone.
        num_train: How many go to train, from 1 to one less than there are.
        seed: Whole number that picks the split.

    Returns:
        The names of train and of test, each sorted by their bytes.

    Raises:
        DatasetError: `num_train` leaves one side empty, a name appears twice, or all names are one group.
    """
    return _deal(_shuffle_units(names, groups, seed), num_train, {})


def split_stratified(labels: Labels, groups: Iterable[Sequence[str]], num_train: int, seed: int) -> Sides:
    """Split so that train and test get the same share of every class's boxes, with groups kept together.

    Groups are dealt one by one, crowded ones first, each to the side that leaves the smaller imbalance behind:
    over all classes, the pictures and the negatives, the squared excess of train as a share of the total (the
    minimisation of Pocock and Simon 1975, "Sequential treatment assignment", for sides of unequal size).

    Args:
        labels: Picture name -> class names of its boxes.
        groups: Disjoint groups of some of the names; pictures in none are alone.
        num_train: How many go to train, as in `split_grouped`.
        seed: Whole number that picks the split.

    Returns:
        The names of train and of test, each sorted by their bytes.

    Raises:
        DatasetError: As `split_grouped`.
    """
    units = _shuffle_units(labels, groups, seed)
    # by powers of two, so that chance decides among pictures of about as many boxes
    crowded_first = sorted(units, key=lambda unit: -sum(len(labels[name]) for name in unit).bit_length())
    strata = {name: _strata(found) for name, found in labels.items()}
    return _deal(crowded_first, num_train, strata)


def hold_out(names: Iterable[str], fraction: float, seed: int) -> Sides:
    """Hold a part of the names out, for validation: `fraction` of them, rounded, and at least one.

    Returns:
        The names kept and the names held out, each sorted by their bytes.

    Raises:
        DatasetError: `fraction` is not between 0 and 1, nothing would be kept, or a name appears twice.
    """
    names = list(names)
    return split_names(names, _num_kept(len(names), fraction), seed)


def hold_out_stratified(labels: Labels, fraction: float, seed: int, groups: Iterable[Sequence[str]] = ()) -> Sides:
    """Hold out as many pictures as `hold_out` does, with their share of every class's boxes.

    Args:
        labels: Picture name -> class names of its boxes.
        fraction: Part of the pictures that is held out.
        seed: Whole number that picks them.
        groups: Disjoint groups of names that stay together.

    Returns:
        The names kept and the names held out, each sorted by their bytes.

    Raises:
        DatasetError: As `hold_out`, or all names are one group.
    """
    return split_stratified(labels, groups, _num_kept(len(labels), fraction), seed)


def _num_kept(total: int, fraction: float) -> int:
    if not 0 < fraction < 1:
        raise DatasetError(
            f"data.val is {fraction}: the fraction of the training pictures held out must lie between 0 and 1; "
            "`test` validates on the test split"
        )
    num_held_out = max(1, math.floor(total * fraction + 0.5))
    if num_held_out >= total:
        raise DatasetError(
            f"data.val is {fraction}: with {num_held_out} of {total} pictures held out none would be left to "
            "train on; use more pictures or a smaller fraction"
        )
    return total - num_held_out


def shuffle(names: Iterable[str], seed: int) -> list[str]:
    """Return names in a seeded order that does not depend on the order they come in.

    Raises:
        DatasetError: A name appears twice.
    """
    shuffled = _sorted_distinct(names)
    generator = random.Random(seed)
    for last in range(len(shuffled) - 1, 0, -1):
        chosen = int(generator.random() * (last + 1))
        shuffled[last], shuffled[chosen] = shuffled[chosen], shuffled[last]
    return shuffled


def _sorted_distinct(names: Iterable[str]) -> list[str]:
    ordered = sorted(names, key=byte_order)
    for name, following in itertools.pairwise(ordered):
        if name == following:
            raise DatasetError(f"picture {name!r} appears twice; names in a split must differ")
    return ordered


def _shuffle_units(names: Iterable[str], groups: Iterable[Sequence[str]], seed: int) -> list[_Unit]:
    """Shuffle groups and lone pictures alike, each by the first of its names."""
    units: dict[str, _Unit] = {name: (name,) for name in _sorted_distinct(names)}
    for group in groups:
        together = tuple(sorted(group, key=byte_order))
        for name in together:
            del units[name]
        units[together[0]] = together
    return [units[first] for first in shuffle(units, seed)]


def _strata(labels: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count what is shared out with a picture: itself, and its boxes by class or itself as a negative."""
    strata = Counter(("boxes", label) for label in labels) or Counter([("negatives", "")])
    strata["pictures", ""] = 1
    return strata


def _deal(units: Sequence[_Unit], num_train: int, strata: _Strata) -> Sides:
    """Deal units to two sides in their order; where both sides are as good, to train."""
    sums = _Sums(units)
    total = sum(len(unit) for unit in units)
    _check_num_train(num_train, total)
    left = _nearest(sums, num_train, total)
    balance = _Balance(strata, left / total)
    sides: Sides = ([], [])
    for number, unit in enumerate(units, 1):
        must_train = not sums.reach(number, left)
        may_train = sums.reach(number, left - len(unit))
        to_train = may_train and (must_train or balance.prefers_train(unit))
        balance.add(unit, to_train)
        left -= len(unit) * to_train
        sides[not to_train].extend(unit)
    return sorted(sides[0], key=byte_order), sorted(sides[1], key=byte_order)


class _Sums:
    """Which numbers of pictures the units from a place on can add up to.

    Bit n of `_bits[i]` says that some of the units of several pictures from i on have n pictures together;
    lone pictures fill any gap up to their number.
    """

    def __init__(self, units: Sequence[_Unit]) -> None:
        self._bits, self._alone = [1], [0]
        for unit in reversed(units):
            bits, alone = self._bits[-1], self._alone[-1]
            self._bits.append(bits if len(unit) == 1 else bits | bits << len(unit))
            self._alone.append(alone + (len(unit) == 1))
        self._bits.reverse()
        self._alone.reverse()

    def reach(self, start: int, number: int) -> bool:
        """Whether some of the units from `start` on have exactly `number` pictures together."""
        if number < 0:
            return False
        up_to_number = self._bits[start] & ((1 << (number + 1)) - 1)
        return bool(up_to_number >> max(0, number - self._alone[start]))


class _Balance:
    """How much more of each stratum than its share train has got so far.

    Args:
        strata: What is counted of each picture; nothing of those that are missing.
        share: The share of everything that train shall get.
    """

    def __init__(self, strata: _Strata, share: float) -> None:
        self._strata = strata
        self._share = share
        self._totals = _sum(strata.values())
        self._excess = dict.fromkeys(self._totals, 0.0)

    def prefers_train(self, unit: _Unit) -> bool:
        """Whether the unit leaves no more imbalance in train than in test."""
        return self._imbalance(unit, 1 - self._share) <= self._imbalance(unit, -self._share)

    def add(self, unit: _Unit, to_train: bool) -> None:
        """Count the unit for its side."""
        for stratum, count in self._count(unit).items():
            self._excess[stratum] += count * (to_train - self._share)

    def _imbalance(self, unit: _Unit, change: float) -> float:
        """Squared shares of excess in the unit's strata, with `change` for each thing counted in it."""
        return sum(
            ((self._excess[stratum] + count * change) / self._totals[stratum]) ** 2
            for stratum, count in self._count(unit).items()
        )

    def _count(self, unit: _Unit) -> Counter[tuple[str, str]]:
        if len(unit) == 1:
            return self._strata.get(unit[0], Counter())
        return _sum(self._strata.get(name, Counter()) for name in unit)


def _sum(counts: Iterable[Counter[tuple[str, str]]]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()  # Python's own sum would copy it for every picture
    for each in counts:
        total.update(each)
    return total


def _nearest(sums: _Sums, num_train: int, total: int) -> int:
    """The number nearest to `num_train` that whole units can add up to, the smaller of two, both sides filled."""
    reachable = (number for number in range(1, total) if sums.reach(0, number))
    nearest = min(reachable, key=lambda number: (abs(number - num_train), number), default=None)
    if nearest is None:
        raise DatasetError(
            f"all {total} pictures are near-identical and would stay together, so none is left for the other side: "
            "use --split random"
        )
    return nearest


def _check_num_train(num_train: int, total: int) -> None:
    if total < 2:
        raise DatasetError(f"cannot split {total} picture(s) into train and test: at least 2 are needed")
    if not 1 <= num_train < total:
        raise DatasetError(
            f"num_train is {num_train}, but there are {total} pictures and both sides need at least one: "
            f"set --num_train to a number from 1 to {total - 1}"
        )
