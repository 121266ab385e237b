import numpy as np
import pytest

from gdino_lightning.data.world import KINDS, Phrase, Relation, Thing
from gdino_lightning.data.worlds.phrases import change_one_word, describe, vocabulary

CUP = Thing("cup", "red", "striped", "small", (0, 0, 20, 20), 1.0)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        (Phrase("cup"), "cup"),
        (Phrase("cup", "red"), "red cup"),
        (Phrase("cup", "red", "striped"), "striped red cup"),
        (Phrase("letter A", "orange"), "orange letter A"),
        (Phrase("house", size="small", relation=Relation("left of", "tree")), "small house left of a tree"),
        (Phrase("cup", "red", relation=Relation("above", "car", "orange")), "red cup above an orange car"),
        (Phrase("cup", relation=Relation("below", "umbrella")), "cup below an umbrella"),
        (Phrase("digit 7", relation=Relation("right of", "umbrella", "blue")), "digit 7 right of a blue umbrella"),
    ],
)
def test_wording(phrase, text):
    assert phrase.text == text


def test_a_thing_is_described_at_each_grain():
    assert describe(CUP, "kind").text == "cup"
    assert describe(CUP, "colour").text == "red cup"
    assert describe(CUP, "texture").text == "striped red cup"
    assert describe(CUP, "size").text == "small cup"
    assert describe(CUP, "size and colour").text == "small red cup"


def test_no_size_is_said_of_a_middling_thing_and_no_texture_of_a_thin_one():
    assert describe(Thing("cup", "red", "plain", None, (0, 0, 40, 40), 1.0), "size") is None
    assert describe(Thing("key", "red", "plain", "small", (0, 0, 20, 20), 1.0), "texture") is None


def test_the_vocabulary_holds_each_kind_at_each_grain():
    texts = {phrase.text for phrase in vocabulary()}
    assert {"cup", "green cup", "dotted green cup", "plain green cup", "large cup", "small green cup"} <= texts
    assert {"key", "green key", "small key"} <= texts
    assert "dotted green key" not in texts
    assert set(KINDS) <= texts


@pytest.mark.parametrize(
    "phrase",
    [
        Phrase("cup", "red", "striped"),
        Phrase("cup", size="small"),
        Phrase("cup", "red", relation=Relation("above", "tree", "blue")),
    ],
)
def test_one_word_is_changed(phrase):
    rng = np.random.default_rng(0)
    names = ("kind", "colour", "texture", "size", "relation")
    changed = set()
    for _ in range(100):
        other = change_one_word(phrase, rng)
        (name,) = [name for name in names if getattr(other, name) != getattr(phrase, name)]
        changed.add(name)
        if other.relation:
            assert (other.relation.kind, other.relation.colour) == ("tree", "blue")
            assert name != "relation" or other.relation.side == "below"
    assert changed == {name for name in names if getattr(phrase, name) is not None}


def test_held_out_phrases_are_those_of_held_out_combinations():
    phrases = [phrase for phrase in vocabulary() if phrase.held_out]
    assert all(phrase.colour for phrase in phrases)
    pair = next(phrase for phrase in phrases if phrase.texture is None and phrase.size is None)
    assert Phrase("cup" if pair.kind != "cup" else "tree", relation=Relation("above", pair.kind, pair.colour)).held_out
    assert not Phrase(pair.kind, relation=Relation("above", pair.kind)).held_out
