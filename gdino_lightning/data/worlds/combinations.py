"""Which combinations of colour, texture and kind are held out of pretraining.

Fixed by `_SEED` and the catalogue, the same for every scene seed:
- each kind lacks 2 of the 11 colours: those (colour, kind) pairs are never drawn in 'train';
- each kind that takes a texture lacks, of the colours left to it, 3 (texture, colour) pairs of one colour each:
  those (texture, colour, kind) triples are never drawn in 'train' either. 'plain' is never held out.
Colours and textures are dealt like cards, so each is held out about equally often, and each colour, texture and
kind is drawn in 'train'.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from gdino_lightning.data.worlds.catalogue import KINDS
from gdino_lightning.data.worlds.paint import COLOURS, TEXTURES

COLOURS_PER_KIND = 2
TEXTURES_PER_KIND = 3

_SEED = 41


def is_held_out(colour: str, texture: str | None, kind: str) -> bool:
    """Whether a combination never appears in 'train'; with texture None, whether its (colour, kind) pair does not."""
    return (colour, kind) in held_out_pairs() or (texture, colour, kind) in held_out_triples()


@cache
def held_out_pairs() -> frozenset[tuple[str, str]]:
    """All (colour, kind) pairs that never appear in 'train'."""
    deck = _dealt(np.random.default_rng([_SEED, 0]), tuple(COLOURS))
    return frozenset((colour, kind) for kind in KINDS for colour in _hand(deck, COLOURS_PER_KIND))


@cache
def held_out_triples() -> frozenset[tuple[str, str, str]]:
    """All (texture, colour, kind) triples of pairs that do appear which never appear in 'train'."""
    rng = np.random.default_rng([_SEED, 1])
    textures = _dealt(rng, TEXTURES[1:])
    triples = set()
    for kind in KINDS.values():
        if kind.patterned:
            left = [colour for colour in COLOURS if (colour, kind.name) not in held_out_pairs()]
            colours = rng.permutation(left)[:TEXTURES_PER_KIND]
            triples |= {(next(textures), str(colour), kind.name) for colour in colours}
    return frozenset(triples)


def _dealt(rng: np.random.Generator, cards: Sequence[str]) -> Iterator[str]:
    """Deal shuffled cards for ever: each is dealt once before any is dealt again."""
    while True:
        yield from (str(card) for card in rng.permutation(cards))


def _hand(deck: Iterator[str], count: int) -> set[str]:
    """Take different cards."""
    hand: set[str] = set()
    while len(hand) < count:
        hand.add(next(deck))
    return hand
