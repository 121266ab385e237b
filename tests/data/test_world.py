"""The drawn world as others use it. What is true is read from the words of a phrase, not from its structure."""

import re
from collections import Counter

import numpy as np
import pytest

from gdino_lightning.data.world import (
    COLOURS,
    KINDS,
    TEXTURES,
    Scene,
    Thing,
    absent,
    draw_scene,
    naming,
    true_phrases,
    vocabulary,
)
from gdino_lightning.data.worlds.combinations import held_out_pairs, held_out_triples
from gdino_lightning.errors import ConfigError

SIDES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
HEAD = re.compile(
    rf"(?:(small|large) )?(?:({'|'.join(TEXTURES)}) )?(?:({'|'.join(COLOURS)}) )?(.+?)"
    rf"(?: ({'|'.join(SIDES)}) an? (?:({'|'.join(COLOURS)}) )?(.+))?"
)


@pytest.fixture(scope="module")
def train() -> list[Scene]:
    return [draw_scene(11, index, "train") for index in range(260)]


@pytest.fixture(scope="module")
def unseen() -> list[Scene]:
    return [draw_scene(11, index, "unseen") for index in range(60)]


def things(scenes: list[Scene]) -> list[Thing]:
    return [thing for scene in scenes for thing in scene.objects]


def middle(thing: Thing) -> np.ndarray:
    x1, y1, x2, y2 = thing.box_px
    return np.array([x1 + x2, y1 + y2]) / 2


def could_be_said(text: str, thing: Thing, scene: Scene, ahead: float) -> bool:
    """Whether no word of a phrase is wrong; `ahead` px is how far a relation's centres must lie apart."""
    size, texture, colour, kind, side, other_colour, other_kind = HEAD.fullmatch(text).groups()
    said = [(size, thing.size), (texture, thing.texture), (colour, thing.colour), (kind, thing.kind)]
    if any(word not in (None, fact) for word, fact in said):
        return False
    return side is None or any(
        other is not thing
        and other.kind == other_kind
        and other_colour in (None, other.colour)
        and (middle(thing) - middle(other)) @ SIDES[side] > ahead
        for other in scene.objects
    )


def test_a_scene_follows_from_its_arguments_alone():
    first = draw_scene(4, 17, "train")
    draw_scene(4, 3, "unseen")
    again = draw_scene(4, 17, "train")
    assert first.image.tobytes() == again.image.tobytes()
    assert first.objects == again.objects


@pytest.mark.parametrize("other", [(5, 17, "train"), (4, 18, "train"), (4, 17, "seen"), (4, 17, "unseen")])
def test_another_seed_index_or_split_gives_another_picture(other):
    assert draw_scene(4, 17, "train").image.tobytes() != draw_scene(*other).image.tobytes()


@pytest.mark.parametrize("size", [(96, 96), (160, 160), (128, 233), (301, 200)])
def test_pictures_have_any_size_and_hold_all_boxes(size):
    for index in range(6):
        scene = draw_scene(1, index, "train", size)
        assert scene.image.shape == (*size, 3)
        assert scene.image.dtype == np.uint8
        assert scene.objects
        for x1, y1, x2, y2 in (thing.box_px for thing in scene.objects):
            assert 0 <= x1 < x2 <= size[1]
            assert 0 <= y1 < y2 <= size[0]


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="seed -1"):
        draw_scene(-1, 0, "train")
    with pytest.raises(ConfigError, match="'test' is unknown: use one of train, seen, unseen"):
        draw_scene(0, 0, "test")
    with pytest.raises(ConfigError, match="40x200 px is too small"):
        draw_scene(0, 0, "train", (40, 200))


def test_there_are_many_kinds_and_thousands_of_phrases():
    signs = [name for name in KINDS if re.fullmatch(r"letter [A-Z]|digit \d", name)]
    assert len(signs) >= 24
    assert len(KINDS) - len(signs) >= 40
    assert len(COLOURS) >= 10
    assert len(TEXTURES) >= 4
    assert len(vocabulary()) >= 3000


def test_no_two_phrases_share_a_text():
    texts = [phrase.text for phrase in vocabulary()]
    assert len({text.lower() for text in texts}) == len(texts)


def test_no_phrase_is_about_masks():
    assert not [phrase.text for phrase in vocabulary() if "mask" in phrase.text or "wear" in phrase.text]


def test_train_shows_every_word_but_no_held_out_combination(train):
    seen = things(train)
    assert {thing.kind for thing in seen} == set(KINDS)
    assert {thing.colour for thing in seen} == set(COLOURS)
    assert {thing.texture for thing in seen} == set(TEXTURES)
    assert {thing.size for thing in seen} == {"small", "large", None}
    assert not {(thing.colour, thing.kind) for thing in seen} & held_out_pairs()
    assert not {(thing.texture, thing.colour, thing.kind) for thing in seen} & held_out_triples()


def test_seen_scenes_hold_no_held_out_combination():
    seen = things([draw_scene(12, index, "seen") for index in range(60)])
    assert not {(thing.colour, thing.kind) for thing in seen} & held_out_pairs()
    assert not {(thing.texture, thing.colour, thing.kind) for thing in seen} & held_out_triples()


def test_every_unseen_scene_shows_held_out_combinations(unseen):
    shares = []
    for scene in unseen:
        new = [
            (t.colour, t.kind) in held_out_pairs() or (t.texture, t.colour, t.kind) in held_out_triples()
            for t in scene.objects
        ]
        assert any(new)
        shares.append(np.mean(new))
    assert np.mean(shares) > 0.5


def test_scenes_show_three_to_eight_things(train):
    counts = Counter(len(scene.objects) for scene in train)
    assert max(counts) == 8
    assert sum(n for count, n in counts.items() if count >= 3) > 0.97 * len(train)
    assert all(counts[count] > 0.03 * len(train) for count in range(3, 9))


def test_naming_names_each_thing_once_and_nothing_else(train, unseen):
    rng = np.random.default_rng(0)
    said: Counter[str] = Counter()
    for scene in train[:120] + unseen:
        named = naming(scene, rng)
        assert sorted(i for ground in named for i in ground.objects) == list(range(len(scene.objects)))
        assert len({ground.phrase.text for ground in named}) == len(named)
        for ground in named:
            said[ground.phrase.text] += 1
            for index, thing in enumerate(scene.objects):
                assert could_be_said(ground.phrase.text, thing, scene, ahead=0) == (index in ground.objects)
    words = Counter(word for text in said.elements() for word in text.split())
    assert min(words[word] for word in ("red", "striped", "small", "large", "left", "above")) >= 3


def test_absent_phrases_are_true_of_nothing(train, unseen):
    rng = np.random.default_rng(1)
    for scene in train[:60] + unseen:
        phrases = absent(scene, 20, rng)
        assert len({phrase.text for phrase in phrases}) == 20
        for phrase in phrases:
            assert not any(could_be_said(phrase.text, thing, scene, ahead=0) for thing in scene.objects)


def test_half_of_the_absent_phrases_nearly_fit(train):
    rng = np.random.default_rng(2)
    for scene in train[:40]:
        kinds = {thing.kind for thing in scene.objects}
        colours = {thing.colour for thing in scene.objects}
        near = [p for p in absent(scene, 20, rng) if p.kind in kinds or p.colour in colours or p.size]
        assert len(near) >= 10


def test_absent_phrases_of_train_scenes_name_no_held_out_combination(train, unseen):
    rng = np.random.default_rng(3)
    held_out = []
    for scene in train[:60] + unseen:
        for phrase in absent(scene, 20, rng):
            pairs = {(phrase.colour, phrase.kind)}
            if phrase.relation:
                pairs.add((phrase.relation.colour, phrase.relation.kind))
            if pairs & held_out_pairs() or (phrase.texture, phrase.colour, phrase.kind) in held_out_triples():
                held_out.append(scene.split)
    assert set(held_out) == {"unseen"}


def test_more_absent_phrases_than_there_are_is_an_error(train):
    with pytest.raises(ConfigError, match="ask for fewer"):
        absent(train[0], 5, OneNumber())


class OneNumber(np.random.Generator):
    """A generator whose choices never change, so that few phrases can be found."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, *_: object) -> float:
        return 0.5

    def integers(self, *_: object) -> int:
        return 0


def test_true_phrases_are_true_and_complete_about_plain_words(train):
    for scene in train[:60]:
        found = {ground.phrase.text: ground.objects for ground in true_phrases(scene)}
        for text, objects in found.items():
            fitting = [i for i, thing in enumerate(scene.objects) if could_be_said(text, thing, scene, ahead=0)]
            assert list(objects) == fitting
        for index, thing in enumerate(scene.objects):
            assert index in found[thing.kind]
            assert index in found[f"{thing.colour} {thing.kind}"]


def test_relations_hold_by_a_clear_margin(train):
    checked = 0
    for scene in train[:100]:
        for ground in true_phrases(scene):
            if ground.phrase.relation:
                checked += 1
                for index in ground.objects:
                    assert could_be_said(ground.phrase.text, scene.objects[index], scene, ahead=0.11 * 160)
    assert checked > 500
