"""Which settings of a resumed run are others than before."""

from gdino_lightning.cli.changed_settings import changed_settings


def test_each_value_is_named_by_its_keys():
    before = {"model": {"a": 1, "b": None}, "data": {"sides": [1, 2]}, "trainer": {"callbacks": [{"class_path": "X"}]}}
    now = {
        "model": {"a": 2, "b": None},
        "data": {"sides": [1]},
        "trainer": {"callbacks": [{"class_path": "Y"}], "c": "d"},
    }
    assert changed_settings(before, now) == [
        "model.a 1 -> 2",
        "data.sides.1 2 -> not set",
        "trainer.callbacks.0.class_path 'X' -> 'Y'",
        "trainer.c not set -> 'd'",
    ]


def test_what_is_equal_and_where_things_are_is_not_named():
    before = {"model": {"a": {}, "weights": "nano"}, "run": "runs/run", "ckpt_path": None, "seed_everything": 0}
    now = {"model": {"a": {}, "weights": "x.ckpt"}, "run": "r", "ckpt_path": "x.ckpt", "seed_everything": 0}
    assert changed_settings(before, now) == []


def test_an_empty_value_differs_from_a_full_one():
    assert changed_settings({"a": {}}, {"a": {"b": 1}}) == ["a {} -> not set", "a.b not set -> 1"]
