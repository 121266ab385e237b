from gdino_lightning.errors import listed, reason_of


def test_long_lists_are_cut_short_and_short_ones_are_not():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(5)), most=5) == "0, 1, 2, 3, 4"
    assert listed((str(i) for i in range(1203)), most=2) == "0, 1 and 1,201 more"


def test_what_a_library_says_becomes_one_line_that_can_be_printed():
    assert reason_of(ValueError("half \ud800 of\na character")) == "half \\ud800 of a character"
    assert len(reason_of(ValueError("9" * 9_000))) < 400
    assert reason_of(KeyError()) == "KeyError"
