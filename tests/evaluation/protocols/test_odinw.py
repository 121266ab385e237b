"""Averages over the datasets of ODinW."""

import pytest

from gdino_lightning.evaluation.protocols.odinw import ODINW13, ODINW35, averages


def test_the_lists_have_as_many_as_their_names_say_and_one_is_in_the_other():
    assert (len(set(ODINW13)), len(set(ODINW35))) == (13, 35)
    assert set(ODINW13) < set(ODINW35)


def test_all_that_is_there_is_averaged_and_a_list_only_where_it_is_whole():
    assert averages({"cats": 0.2, "dogs": 0.6}) == pytest.approx({"all": 0.4})
    thirteen = {name: number / 100 for number, name in enumerate(ODINW13)}
    assert averages(thirteen) == pytest.approx({"all": 0.06, "ODinW13": 0.06})
    with_another = averages({**thirteen, "cats": 0.76})
    assert with_another == pytest.approx({"all": (0.78 + 0.76) / 14, "ODinW13": 0.06})
    assert set(averages(dict.fromkeys(ODINW35, 0.5))) == {"all", "ODinW13", "ODinW35"}
    assert averages({}) == {}


def test_names_may_go_on_and_be_written_otherwise():
    long = {
        "aquarium_Aquarium_Combined.v2-raw-1024.coco" if name == "Aquarium" else name.upper(): 0.3 for name in ODINW13
    }
    assert averages(long)["ODinW13"] == pytest.approx(0.3)
