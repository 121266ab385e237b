"""Few-shot training sets: as few pictures as show every class so many times."""

from collections import Counter
from collections.abc import Mapping, Sequence

from gdino_lightning.data.split import shuffle


def pick_shots(labels: Mapping[str, Sequence[str]], shots: int, seed: int) -> set[str]:
    """Pick pictures until every class is on `shots` of them.

    The pictures are taken in a seeded order, each that shows a class which is still on too few; so a class is on more
    pictures than `shots` where it comes with others. This is the rule of the few-shot settings of ODinW (Li et al.
    2022, "Grounded Language-Image Pre-training", section 5: at least so many examples of each category).

    Args:
        labels: Name of a picture -> class names of its boxes.
        shots: Pictures for each class; all of them where there are fewer.
        seed: Picks the order.

    Returns:
        The names of the picked pictures. None of them is a negative.
    """
    missing = Counter({label: shots for found in labels.values() for label in found})
    picked = set()
    for name in shuffle(labels, seed):
        shown = set(labels[name])
        if any(missing[label] > 0 for label in shown):
            picked.add(name)
            missing.subtract(shown)
    return picked
