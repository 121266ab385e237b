"""What is true of a scene: which phrases name which of its things, and which phrases name none.

Some things are neither clearly so nor clearly not so: a thing of middling size is not said to be small or large,
nor one up and a little to the left to be left. `matches` holds clear truths only, `may_match` those and the
borderline; a phrase is used, as a positive or a negative, only where the two agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gdino_lightning.data.worlds.pen import pick
from gdino_lightning.data.worlds.phrases import (
    GRAINS,
    SIDES,
    Grain,
    Phrase,
    Relation,
    Side,
    change_one_word,
    describe,
    vocabulary,
)
from gdino_lightning.data.worlds.scene import Scene, Thing
from gdino_lightning.errors import ConfigError

_AHEAD = 0.12  # of the picture's shorter side: least distance of two centres along a relation's axis
_STEEP = 1.2  # and at least so many times their distance across it
_SHARED = 0.2  # of the shorter extent: most that two boxes may have in common along the axis
_BEHIND = 0.03  # of the shorter side: a relation is clearly wrong from so far on the wrong side
_RELATED_SHARE = 0.2  # of names and of absent phrases that are relations, where they can be
_GRAIN_WEIGHTS: dict[Grain, float] = {"kind": 0.3, "colour": 0.3, "texture": 0.2, "size": 0.1, "size and colour": 0.1}
_TRIES = 200  # per wanted phrase


@dataclass(frozen=True)
class Grounded:
    """A phrase and the indices of the things that it names."""

    phrase: Phrase
    objects: tuple[int, ...]


def matches(phrase: Phrase, scene: Scene) -> tuple[int, ...]:
    """Indices of the things that a phrase is clearly true of."""
    return _true_of(phrase, scene, generous=False)


def may_match(phrase: Phrase, scene: Scene) -> tuple[int, ...]:
    """Indices of the things that a phrase is not clearly wrong about."""
    return _true_of(phrase, scene, generous=True)


def true_phrases(scene: Scene) -> tuple[Grounded, ...]:
    """All phrases, relations included, that are clearly true of some things and clearly wrong about the rest."""
    phrases = dict.fromkeys(
        phrase for index in range(len(scene.objects)) for phrase in (*_plain(scene, index), *_related(scene, index))
    )
    return tuple(Grounded(phrase, matches(phrase, scene)) for phrase in phrases if _is_clear(phrase, scene))


def naming(scene: Scene, rng: np.random.Generator) -> tuple[Grounded, ...]:
    """Name each thing once.

    For each kind a grain is drawn (or a relation) that names every thing of it: each thing is in exactly one
    `Grounded`, and no phrase of the answer may be true of a thing that it does not name.
    """
    named: list[Grounded] = []
    for kind in dict.fromkeys(thing.kind for thing in scene.objects):
        group = [index for index, thing in enumerate(scene.objects) if thing.kind == kind]
        named += _by_relation(scene, group, rng) or _by_grain(scene, group, rng)
    return tuple(named)


def absent(scene: Scene, count: int, rng: np.random.Generator) -> tuple[Phrase, ...]:
    """Draw different phrases that are clearly true of nothing in a scene.

    Half of them (rounded up, as far as there are so many) differ in one word from a phrase that is true: the kind
    with another colour, the colour with another kind, another texture or size, the other side. The rest are random.
    A 'train' scene gets no phrase that names a held-out combination: pretraining must not learn that it is never there.

    Raises:
        ConfigError: If there are not so many.
    """
    drawn: dict[Phrase, None] = {}
    for _ in range(_TRIES * count):
        if len(drawn) == count:
            break
        near = 2 * len(drawn) < count + 1 and bool(scene.objects)
        phrase = _nearly_true(scene, rng) if near else _random_phrase(rng)
        if not (scene.split == "train" and phrase.held_out) and not may_match(phrase, scene):
            drawn[phrase] = None
    if len(drawn) < count:
        raise ConfigError(f"{count} absent phrases are more than can be found in a scene: ask for fewer")
    return tuple(drawn)


def _true_of(phrase: Phrase, scene: Scene, *, generous: bool) -> tuple[int, ...]:
    return tuple(
        index
        for index, thing in enumerate(scene.objects)
        if _words_fit(phrase, thing, generous=generous)
        and (phrase.relation is None or _is_related(phrase.relation, index, scene, generous=generous))
    )


def _words_fit(phrase: Phrase, thing: Thing, *, generous: bool) -> bool:
    return (
        phrase.kind == thing.kind
        and phrase.colour in (None, thing.colour)
        and phrase.texture in (None, thing.texture)
        and (phrase.size in (None, thing.size) or (generous and thing.size is None))
    )


def _is_related(relation: Relation, index: int, scene: Scene, *, generous: bool) -> bool:
    holds = _may_be if generous else _is_clearly
    return any(
        other.kind == relation.kind
        and relation.colour in (None, other.colour)
        and holds(relation.side, scene.objects[index], other, scene.shorter)
        for number, other in enumerate(scene.objects)
        if number != index
    )


def _ahead(side: Side, thing: Thing, other: Thing) -> tuple[float, float]:
    """How far a thing's centre is on a side of another's, and how far off that axis, px."""
    (x, y), (other_x, other_y) = thing.centre, other.centre
    along, across = (other_x - x, y - other_y) if side in ("left of", "right of") else (other_y - y, x - other_x)
    return (along if side in ("left of", "above") else -along), abs(across)


def _is_clearly(side: Side, thing: Thing, other: Thing, shorter: int) -> bool:
    along, across = _ahead(side, thing, other)
    axis = 0 if side in ("left of", "right of") else 1
    (low, high), (other_low, other_high) = ((t.box_px[axis], t.box_px[axis + 2]) for t in (thing, other))
    shared = min(high, other_high) - max(low, other_low)
    apart = shared <= _SHARED * min(high - low, other_high - other_low)
    return along >= _AHEAD * shorter and along >= _STEEP * across and apart


def _may_be(side: Side, thing: Thing, other: Thing, shorter: int) -> bool:
    return _ahead(side, thing, other)[0] > -_BEHIND * shorter


def _is_clear(phrase: Phrase, scene: Scene) -> bool:
    certain = matches(phrase, scene)
    return bool(certain) and certain == may_match(phrase, scene)


def _plain(scene: Scene, index: int) -> Iterator[Phrase]:
    for grain in GRAINS:
        phrase = describe(scene.objects[index], grain)
        if phrase is not None:
            yield phrase


def _related(scene: Scene, index: int) -> Iterator[Phrase]:
    """All relation phrases that are true of a thing."""
    thing = scene.objects[index]
    heads = [phrase for phrase in _plain(scene, index) if phrase.texture is None]
    for number, other in enumerate(scene.objects):
        if number == index:
            continue
        for side in SIDES:
            if _is_clearly(side, thing, other, scene.shorter):
                for colour in (None, other.colour):
                    yield from (replace(head, relation=Relation(side, other.kind, colour)) for head in heads)


def _by_relation(scene: Scene, group: list[int], rng: np.random.Generator) -> list[Grounded]:
    """Name a lone thing by a relation, now and then; nothing where that is not clear."""
    if len(group) > 1 or rng.random() >= _RELATED_SHARE:
        return []
    phrases = [phrase for phrase in _related(scene, group[0]) if may_match(phrase, scene) == (group[0],)]
    return [Grounded(pick(rng, phrases), (group[0],))] if phrases else []


def _by_grain(scene: Scene, group: list[int], rng: np.random.Generator) -> list[Grounded]:
    """Name all things of one kind at one grain: the first, in a random order, that is clear about each of them."""
    keys = rng.random(len(GRAINS)) ** (1 / np.array([_GRAIN_WEIGHTS[grain] for grain in GRAINS]))
    for grain in (GRAINS[i] for i in np.argsort(-keys)):
        phrases = [describe(scene.objects[index], grain) for index in group]
        named = [Grounded(phrase, matches(phrase, scene)) for phrase in dict.fromkeys(phrases) if phrase is not None]
        if None not in phrases and all(_is_clear(ground.phrase, scene) for ground in named):
            return named
    raise AssertionError("a kind alone names all of its things")


def _nearly_true(scene: Scene, rng: np.random.Generator) -> Phrase:
    """Change one word of a phrase that is true of a thing, most often of a coloured thing."""
    index = int(rng.integers(len(scene.objects)))
    bare = Phrase(scene.objects[index].kind)  # another kind alone would be no nearer than a random phrase
    phrases = [phrase for phrase in _plain(scene, index) if phrase != bare]
    if rng.random() < _RELATED_SHARE:
        phrases = list(_related(scene, index)) or phrases
    return change_one_word(pick(rng, phrases), rng)


def _random_phrase(rng: np.random.Generator) -> Phrase:
    phrase, other = pick(rng, vocabulary()), pick(rng, vocabulary())
    if phrase.texture is None and rng.random() < _RELATED_SHARE:
        return replace(phrase, relation=Relation(pick(rng, SIDES), other.kind, other.colour))
    return phrase
