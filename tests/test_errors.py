from gdino_lightning.errors import listed


def test_long_lists_are_cut_short_and_short_ones_are_not():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(5)), most=5) == "0, 1, 2, 3, 4"
    assert listed((str(i) for i in range(1203)), most=2) == "0, 1 and 1,201 more"
