from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdino_lightning.data.shares import Shares


def epochs(shares, number):
    return [shares.of_epoch(epoch) for epoch in range(number)]


def counted(epochs):
    return Counter(index for epoch in epochs for group in epoch for index in group)


def test_every_picture_is_in_every_epoch_in_the_order_of_the_groups():
    groups = [[2, 0], [1], [4, 3]]
    shares = Shares(groups, [1.0] * 5, seed=0)
    assert epochs(shares, 3) == [groups] * 3
    assert shares.settings == {}


def test_half_of_a_set_takes_turns_with_the_other_half():
    shares = Shares([[0, 1, 2, 3, 4, 5]], [1, 1, 0.5, 0.5, 0.5, 0.5], seed=0)
    first, second, third, fourth = epochs(shares, 4)
    for [group] in (first, second, third, fourth):
        assert group[:2] == [0, 1]
        assert len(group) == 4
    assert counted([first, second]) == counted([third, fourth]) == dict.fromkeys(range(6), 1) | {0: 2, 1: 2}


def test_pictures_that_are_rare_in_their_groups_are_drawn_with_their_neighbours():
    groups = [[0, 10], [1, 11], [2, 12], [3, 13], [14]]
    weights = [1.0] * 10 + [0.5] * 5
    shares = Shares(groups, weights, seed=0)
    found = epochs(shares, 30)
    sizes = {tuple(len(group) for group in epoch) for epoch in found}
    assert len(sizes) == 1
    assert sum(sizes.pop()) == 4 + 3  # 2.5, rounded up
    assert all(counted(found)[index] > 0 for index in range(10, 15))


@pytest.mark.parametrize("weight", [0.001, 0.1])
def test_the_smallest_share_is_one_picture_in_each_epoch(weight):
    shares = Shares([[0], [1], [2]], [weight] * 3, seed=0)
    found = epochs(shares, 9)
    assert [sum(map(len, epoch)) for epoch in found] == [1] * 9
    assert counted(found) == {0: 3, 1: 3, 2: 3}


def test_turns_follow_from_the_seed_and_the_epoch_alone():
    def shares(seed):
        return Shares([list(range(100))], [0.1] * 100, seed)

    assert shares(0).of_epoch(7) == shares(0).of_epoch(7)
    assert shares(0).of_epoch(7) != shares(1).of_epoch(7)
    assert shares(0).settings == shares(1).settings != {}


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    weights=st.lists(st.sampled_from([1.0, 0.9, 0.5, 0.3, 0.01]), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_epochs_are_alike_and_each_set_has_its_share(sizes, weights, seed):
    total = sum(sizes)
    of = [weights[index % len(weights)] for index in range(total)]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    groups = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    found = epochs(Shares(groups, of, seed), 3)
    assert len({tuple(len(group) for group in epoch) for epoch in found}) == 1
    for weight in set(of):
        members = {index for index in range(total) if of[index] == weight}
        for epoch in found:
            drawn = [index for group in epoch for index in group if index in members]
            assert len(drawn) == max(1, int(weight * len(members) + 0.5))
    everything = counted(epochs(Shares(groups, of, seed), 150))
    assert set(everything) == set(range(total))
