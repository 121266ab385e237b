"""Truth about scenes laid out by hand: 100 px pictures, things given by their boxes."""

import numpy as np
import pytest

from gdino_lightning.data.world import Phrase, Relation, Scene, Thing, matches, may_match, naming, true_phrases


def thing(kind, colour="red", *, at, side=10.0, texture="plain", size=None):
    x, y = at
    return Thing(kind, colour, texture, size, (x - side / 2, y - side / 2, x + side / 2, y + side / 2), 1.0)


def scene(*things):
    return Scene(np.zeros((100, 140, 3), np.uint8), things, "train")


ROW = scene(
    thing("cup", "red", at=(20, 50), texture="striped", size="small"),
    thing("tree", "green", at=(60, 52)),
    thing("cup", "blue", at=(100, 48), size="large"),
)


@pytest.mark.parametrize(
    ("phrase", "indices"),
    [
        (Phrase("cup"), (0, 2)),
        (Phrase("tree"), (1,)),
        (Phrase("cup", "red"), (0,)),
        (Phrase("cup", "green"), ()),
        (Phrase("cup", "red", "striped"), (0,)),
        (Phrase("cup", "red", "dotted"), ()),
        (Phrase("cup", size="large"), (2,)),
        (Phrase("cup", "red", size="large"), ()),
        (Phrase("cup", relation=Relation("left of", "tree")), (0,)),
        (Phrase("cup", relation=Relation("right of", "tree")), (2,)),
        (Phrase("cup", "red", relation=Relation("right of", "tree")), ()),
        (Phrase("cup", relation=Relation("left of", "tree", "blue")), ()),
        (Phrase("cup", relation=Relation("left of", "cup")), (0,)),
        (Phrase("tree", relation=Relation("left of", "tree")), ()),
    ],
)
def test_matches_and_may_match_agree_on_what_is_clear(phrase, indices):
    assert matches(phrase, ROW) == indices
    assert may_match(phrase, ROW) == indices


def test_a_size_of_a_middling_thing_is_neither_true_nor_false():
    assert matches(Phrase("tree", size="small"), ROW) == ()
    assert may_match(Phrase("tree", size="small"), ROW) == (1,)


@pytest.mark.parametrize(
    ("at", "true", "open_"),
    [
        ((10, 50), {"left of"}, set()),
        ((90, 50), {"right of"}, set()),
        ((50, 10), {"above"}, set()),
        ((50, 90), {"below"}, set()),
        ((20, 20), set(), {"left of", "above"}),  # halfway between two sides
        ((44, 50), set(), {"left of"}),  # hardly apart
        ((38, 60), {"left of"}, {"below"}),
    ],
)
def test_sides_are_true_by_a_clear_margin_or_open(at, true, open_):
    pair = scene(thing("cup", at=at), thing("tree", at=(50, 50)))
    phrases = {
        side: Phrase("cup", relation=Relation(side, "tree")) for side in ("left of", "right of", "above", "below")
    }
    assert {side for side, phrase in phrases.items() if matches(phrase, pair)} == true
    possible = {side for side, phrase in phrases.items() if may_match(phrase, pair)}
    level = {"above", "below"} if at[1] == 50 else {"left of", "right of"} if at[0] == 50 else set()
    assert possible == true | open_ | level


def test_overlapping_things_have_no_side():
    pair = scene(thing("cup", at=(50, 50), side=60), thing("tree", at=(70, 50), side=20))
    assert matches(Phrase("tree", relation=Relation("right of", "cup")), pair) == ()


def test_true_phrases_leave_out_what_is_open():
    texts = {ground.phrase.text: ground.objects for ground in true_phrases(ROW)}
    assert texts["cup"] == (0, 2)
    assert texts["striped red cup"] == (0,)
    assert texts["small cup"] == (0,)
    assert texts["tree right of a red cup"] == (1,)
    assert "small tree" not in texts
    middling = scene(thing("cup", at=(20, 50), size="small"), thing("cup", at=(80, 50)))
    assert "small cup" not in {ground.phrase.text for ground in true_phrases(middling)}


def test_a_coarse_name_covers_all_things_of_a_kind():
    cups = scene(*(thing("cup", at=(x, 50)) for x in (20, 60, 100)))
    for seed in range(20):
        (ground,) = naming(cups, np.random.default_rng(seed))
        assert ground.objects == (0, 1, 2)
        assert ground.phrase.text in {"cup", "red cup", "plain red cup"}


def test_naming_uses_every_way_to_say_it():
    texts = {ground.phrase.text for seed in range(300) for ground in naming(ROW, np.random.default_rng(seed))}
    assert {"cup", "red cup", "blue cup", "striped red cup", "small cup", "large blue cup", "tree"} <= texts
    assert any(text.startswith("tree left of a") for text in texts)
    assert "small tree" not in texts


def test_an_empty_scene_has_no_names():
    assert naming(scene(), np.random.default_rng(0)) == ()
    assert true_phrases(scene()) == ()
