"""Seeded splits that depend on the names and the seed alone, never on the order of a directory listing.

The shuffle is a Fisher-Yates written out here over `random.Random(seed).random()`: Python promises that this
sequence never changes between versions, which it does not promise for `random.shuffle`, nor NumPy for its
distributions.
"""

import itertools
import math
import random
from collections.abc import Iterable

from gdino_lightning.data.fields import byte_order
from gdino_lightning.errors import DatasetError


def split_names(names: Iterable[str], num_train: int, seed: int) -> tuple[list[str], list[str]]:
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
    shuffled = _shuffle(names, seed)
    if not 1 <= num_train < len(shuffled):
        raise DatasetError(_bad_num_train(num_train, len(shuffled)))
    return sorted(shuffled[:num_train], key=byte_order), sorted(shuffled[num_train:], key=byte_order)


def hold_out(names: Iterable[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Hold a part of the names out, for validation: `fraction` of them, rounded, and at least one.

    Returns:
        The names kept and the names held out, each sorted by their bytes.

    Raises:
        DatasetError: `fraction` is not between 0 and 1, nothing would be kept, or a name appears twice.
    """
    names = list(names)
    if not 0 < fraction < 1:
        raise DatasetError(
            f"data.val is {fraction}: the fraction of the training pictures held out must lie between 0 and 1; "
            "`test` validates on the test split"
        )
    num_held_out = max(1, math.floor(len(names) * fraction + 0.5))
    if num_held_out >= len(names):
        raise DatasetError(
            f"data.val is {fraction}: with {num_held_out} of {len(names)} pictures held out none would be left to "
            "train on; use more pictures or a smaller fraction"
        )
    return split_names(names, len(names) - num_held_out, seed)


def _shuffle(names: Iterable[str], seed: int) -> list[str]:
    shuffled = sorted(names, key=byte_order)
    for name, following in itertools.pairwise(shuffled):
        if name == following:
            raise DatasetError(f"picture {name!r} appears twice; names in a split must differ")
    generator = random.Random(seed)
    for last in range(len(shuffled) - 1, 0, -1):
        chosen = int(generator.random() * (last + 1))
        shuffled[last], shuffled[chosen] = shuffled[chosen], shuffled[last]
    return shuffled


def _bad_num_train(num_train: int, total: int) -> str:
    if total < 2:
        return f"cannot split {total} picture(s) into train and test: at least 2 are needed"
    return (
        f"num_train is {num_train}, but there are {total} pictures and both sides need at least one: "
        f"set --num_train to a number from 1 to {total - 1}"
    )
