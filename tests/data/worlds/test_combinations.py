from collections import Counter

from gdino_lightning.data.world import COLOURS, KINDS, TEXTURES
from gdino_lightning.data.worlds.combinations import held_out_pairs, held_out_triples, is_held_out


def test_each_kind_lacks_two_colours():
    assert Counter(kind for _, kind in held_out_pairs()) == dict.fromkeys(KINDS, 2)


def test_colours_are_held_out_about_equally_often():
    counts = Counter(colour for colour, _ in held_out_pairs())
    assert set(counts) == set(COLOURS)
    assert max(counts.values()) - min(counts.values()) <= 4


def test_each_kind_with_textures_lacks_three_of_its_textured_colours():
    patterned = [name for name, kind in KINDS.items() if kind.patterned]
    assert Counter(kind for *_, kind in held_out_triples()) == dict.fromkeys(patterned, 3)


def test_plain_things_are_held_out_by_their_colour_alone():
    assert {texture for texture, *_ in held_out_triples()} == set(TEXTURES) - {"plain"}


def test_triples_belong_to_pairs_that_are_drawn():
    assert not {(colour, kind) for _, colour, kind in held_out_triples()} & held_out_pairs()


def test_a_combination_is_held_out_by_its_pair_or_by_its_triple():
    colour, kind = min(held_out_pairs())
    assert is_held_out(colour, None, kind)
    assert is_held_out(colour, "plain", kind)
    texture, colour, kind = min(held_out_triples())
    assert is_held_out(colour, texture, kind)
    assert not is_held_out(colour, None, kind)
    assert not is_held_out(colour, "plain", kind)
