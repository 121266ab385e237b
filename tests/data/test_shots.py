from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdino_lightning.data.shots import pick_shots

LABELS = {f"c{i}": ["cat"] for i in range(20)} | {f"d{i}": ["dog"] * 3 for i in range(20)} | {"n": [], "b": ["bird"]}


def shown(labels, picked):
    return Counter(label for name in picked for label in set(labels[name]))


@pytest.mark.parametrize("shots", [1, 3, 5, 10])
def test_classes_that_come_alone_are_on_exactly_so_many_pictures(shots):
    picked = pick_shots(LABELS, shots, seed=0)
    assert shown(LABELS, picked) == {"cat": shots, "dog": shots, "bird": 1}
    assert len(picked) == 2 * shots + 1


def test_boxes_of_one_picture_count_once_and_negatives_are_not_picked():
    assert pick_shots({"a": ["cat", "cat", "cat"], "b": ["cat"], "n": []}, 2, seed=0) == {"a", "b"}


@given(
    st.dictionaries(st.text(min_size=1), st.lists(st.sampled_from("abcde")), max_size=20),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_every_class_is_there_and_no_picture_too_many(labels, shots, seed):
    picked = pick_shots(labels, shots, seed)
    there, all_of = shown(labels, picked), shown(labels, labels)
    assert all(there[label] >= min(shots, count) for label, count in all_of.items())
    assert len(picked) <= shots * len(all_of)
    assert pick_shots(dict(reversed(labels.items())), shots, seed) == picked


def test_the_seed_picks():
    assert len({frozenset(pick_shots(LABELS, 1, seed)) for seed in range(20)}) > 5
