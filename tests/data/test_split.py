import os
import random
import subprocess
import sys

import pytest

from gdino_lightning.data.split import hold_out, split_names
from gdino_lightning.errors import DatasetError

NAMES = [f"maksssksksss{index}.png" for index in range(853)]


def test_the_two_sides_are_sorted_disjoint_and_whole():
    train, test = split_names(NAMES, 600, seed=0)
    assert (len(train), len(test)) == (600, 253)
    assert set(train) | set(test) == set(NAMES)
    assert train == sorted(train, key=str.encode)
    assert test == sorted(test, key=str.encode)


def test_the_order_of_listing_does_not_matter():
    expected = split_names(NAMES, 600, seed=3)
    for shuffle in range(20):
        listed = random.Random(shuffle).sample(NAMES, len(NAMES))
        assert split_names(listed, 600, seed=3) == expected


def test_the_split_of_a_seed_never_changes():
    # by hand: random.Random(0) gives .844 .758 .421 .259 .511 .405 .784: position 7 swaps with 6, 6 with 5,
    # 5 with 2, 4 with 1, 3 with 2, 2 with 1, 1 with 1: a d e h b | c f g
    assert split_names("abcdefgh", 5, seed=0) == (["a", "b", "d", "e", "h"], ["c", "f", "g"])
    assert split_names(NAMES, 600, seed=0)[1][:4] == [
        "maksssksksss0.png",
        "maksssksksss1.png",
        "maksssksksss105.png",
        "maksssksksss108.png",
    ]


def test_hash_randomisation_does_not_matter():
    code = "from gdino_lightning.data.split import split_names; print(split_names({*'abcdefgh'}, 5, 0)[1])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(outputs) == 1


def test_every_picture_is_as_likely_as_any_other_to_be_tested():
    counts = dict.fromkeys("abcdefgh", 0)
    for seed in range(4000):
        for name in split_names("abcdefgh", 6, seed)[1]:
            counts[name] += 1
    assert all(900 < count < 1100 for count in counts.values())  # 1,000 expected, standard deviation 27


def test_seeds_differ():
    assert len({tuple(split_names(NAMES, 600, seed)[1]) for seed in range(20)}) == 20


@pytest.mark.parametrize("num_train", [0, -1, 853, 854, 10_000])
def test_an_impossible_number_says_how_many_there_are(num_train):
    with pytest.raises(DatasetError, match=r"there are 853 pictures.* from 1 to 852"):
        split_names(NAMES, num_train, seed=0)


@pytest.mark.parametrize("names", [[], ["a"]])
def test_too_few_pictures_cannot_be_split(names):
    with pytest.raises(DatasetError, match="at least 2"):
        split_names(names, 1, seed=0)


def test_a_name_that_appears_twice_is_refused():
    with pytest.raises(DatasetError, match=r"'b.png' appears twice"):
        split_names(["a.png", "b.png", "c.png", "b.png"], 2, seed=0)


@pytest.mark.parametrize(("total", "fraction", "expected"), [(600, 0.1, 60), (2, 0.1, 1), (15, 0.1, 2), (7, 0.5, 4)])
def test_holding_out_takes_the_rounded_fraction_and_at_least_one(total, fraction, expected):
    kept, held_out = hold_out(NAMES[:total], fraction, seed=0)
    assert len(held_out) == expected
    assert sorted(kept + held_out) == sorted(NAMES[:total])
    assert hold_out(reversed(NAMES[:total]), fraction, seed=0) == (kept, held_out)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(DatasetError, match=r"^data\.val is .*between 0 and 1"):
        hold_out(NAMES, fraction, seed=0)


def test_nothing_is_held_out_of_a_single_picture():
    with pytest.raises(DatasetError, match=r"^data\.val is 0\.1: .* none would be left"):
        hold_out(["a.png"], 0.1, seed=0)
