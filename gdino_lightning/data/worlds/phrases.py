"""Phrases of the drawn world as structures: what they say, and their wording.

    kind                            cup
    colour + kind                   red cup
    texture + colour + kind         striped red cup
    size + kind                     small cup
    size + colour + kind            small red cup
    relation                        small cup left of a tree, red cup above an orange car

A phrase without a relation reads like a class name, so it has no article; the other thing of a relation has one.
No word stands for two things ('orange' is a colour, never a fruit), so no two phrases share a text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Literal, get_args

import numpy as np

from gdino_lightning.data.worlds.catalogue import KINDS
from gdino_lightning.data.worlds.combinations import is_held_out
from gdino_lightning.data.worlds.paint import COLOURS, TEXTURES
from gdino_lightning.data.worlds.pen import pick
from gdino_lightning.data.worlds.scene import Size, Thing

Side = Literal["left of", "right of", "above", "below"]
Grain = Literal["kind", "colour", "texture", "size", "size and colour"]
SIDES: tuple[Side, ...] = get_args(Side)
GRAINS: tuple[Grain, ...] = get_args(Grain)
SIZES: tuple[Size, ...] = get_args(Size)
OPPOSITE: dict[Side, Side] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

_PATTERNED = tuple(kind.name for kind in KINDS.values() if kind.patterned)
_SAID: dict[Grain, tuple[str, ...]] = {
    "kind": (),
    "colour": ("colour",),
    "texture": ("texture", "colour"),
    "size": ("size",),
    "size and colour": ("size", "colour"),
}


@dataclass(frozen=True)
class Relation:
    """Where a thing is, seen from another thing of a kind and perhaps a colour."""

    side: Side
    kind: str
    colour: str | None = None

    @property
    def text(self) -> str:
        """Wording, as in 'left of a red tree'."""
        other = _joined(self.colour, self.kind)
        return f"{self.side} {'an' if other[0] in 'aeiou' else 'a'} {other}"


@dataclass(frozen=True)
class Phrase:
    """What a phrase says of a thing; None where it says nothing."""

    kind: str
    colour: str | None = None
    texture: str | None = None
    size: Size | None = None
    relation: Relation | None = None

    @property
    def text(self) -> str:
        """Wording."""
        return _joined(self.size, self.texture, self.colour, self.kind, self.relation.text if self.relation else None)

    @property
    def held_out(self) -> bool:
        """Whether it names a combination that never appears in 'train'."""
        named = [(self.colour, self.texture, self.kind)]
        if self.relation is not None:
            named.append((self.relation.colour, None, self.relation.kind))
        return any(colour is not None and is_held_out(colour, texture, kind) for colour, texture, kind in named)


def describe(thing: Thing, grain: Grain) -> Phrase | None:
    """Phrase for a thing with the words of a grain; None where no such word is said of it."""
    said = _SAID[grain]
    if ("size" in said and thing.size is None) or ("texture" in said and not KINDS[thing.kind].patterned):
        return None
    return Phrase(
        thing.kind,
        colour=thing.colour if "colour" in said else None,
        texture=thing.texture if "texture" in said else None,
        size=thing.size if "size" in said else None,
    )


@cache
def vocabulary() -> tuple[Phrase, ...]:
    """All phrases without a relation, in a fixed order."""
    return tuple(phrase for kind in KINDS for phrase in _phrases_of(kind))


def change_one_word(phrase: Phrase, rng: np.random.Generator) -> Phrase:
    """Draw a phrase that differs from another in the kind, the colour, the texture, the size, or the side alone."""
    said = [name for name in ("colour", "texture", "size", "relation") if getattr(phrase, name) is not None]
    word = pick(rng, ["kind", *said])
    if word == "colour":
        return replace(phrase, colour=pick(rng, [name for name in COLOURS if name != phrase.colour]))
    if word == "texture":
        return replace(phrase, texture=pick(rng, [name for name in TEXTURES if name != phrase.texture]))
    if word == "size":
        return replace(phrase, size="large" if phrase.size == "small" else "small")
    if word == "relation" and phrase.relation is not None:
        return replace(phrase, relation=replace(phrase.relation, side=OPPOSITE[phrase.relation.side]))
    kinds = _PATTERNED if phrase.texture is not None else tuple(KINDS)
    return replace(phrase, kind=pick(rng, [name for name in kinds if name != phrase.kind]))


def _phrases_of(kind: str) -> Iterator[Phrase]:
    yield Phrase(kind)
    yield from (Phrase(kind, colour) for colour in COLOURS)
    if KINDS[kind].patterned:
        yield from (Phrase(kind, colour, texture) for texture, colour in product(TEXTURES, COLOURS))
    yield from (Phrase(kind, size=size) for size in SIZES)
    yield from (Phrase(kind, colour, size=size) for size, colour in product(SIZES, COLOURS))


def _joined(*words: str | None) -> str:
    return " ".join(word for word in words if word)
