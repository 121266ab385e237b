import pytest

from gdino_lightning.data.fields import (
    box_problem,
    byte_order,
    clip_box,
    format_number,
    parse_file_name,
    parse_label,
    parse_number,
    parse_side,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10.0), (" 10.5\n", 10.5), ("-3", -3.0), ("+.5", 0.5), ("7.", 7.0), ("1e2", 100.0), ("007", 7.0)],
)
def test_plain_decimal_numbers_are_read(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ten",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "0x10",
        "1_0",
        "1,000",
        "3,5",
        "١٢",
        "1 2",
        "10px",
        "--1",
    ],
)
def test_everything_else_is_no_number(text):
    with pytest.raises(ValueError, match="expected a"):
        parse_number(text)


def test_a_decimal_comma_is_pointed_out():
    with pytest.raises(ValueError, match="decimal point, not a comma"):
        parse_number("3,5")


def test_long_values_are_shortened_in_messages():
    with pytest.raises(ValueError, match="expected") as raised:
        parse_number("x" * 10_000)
    assert len(str(raised.value)) < 150


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("400.0", 400), ("100000", 100_000)])
def test_sides_are_whole_pixels(text, value):
    side = parse_side(text)
    assert side == value
    assert isinstance(side, int)


@pytest.mark.parametrize("text", ["0", "-4", "3.5", "100001", "1e300", "wide", ""])
def test_impossible_sides_are_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_side(text)


def test_labels_lose_outer_space_and_keep_their_marks():
    assert parse_label("\n with_mask\t") == "with_mask"
    assert parse_label("with \n mask") == "with mask"
    assert parse_label('no. 1 part, "left"?') == 'no. 1 part, "left"?'
    assert parse_label("маска 口罩") == "маска 口罩"


@pytest.mark.parametrize("text", ["", " \n ", "a\x00b", "a\x07"])
def test_labels_without_text_or_with_control_characters_are_refused(text):
    with pytest.raises(ValueError, match=r"class name|control characters"):
        parse_label(text)


@pytest.mark.parametrize("name", ["a.png", "with space.jpg", "ünï.png", "..a", "a..b"])
def test_bare_file_names_are_kept(name):
    assert parse_file_name(f" {name}\n") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\a.png",
        "a\\b.png",
        "a/b.png",
        "C:a",
        "a\0b",
        "a\nb",
    ],
)
def test_names_that_are_not_bare_are_refused(name):
    with pytest.raises(ValueError, match="file name"):
        parse_file_name(name)


def test_byte_order_is_not_the_order_of_a_locale():
    assert sorted(["b", "a10", "a2", "Z", "é"], key=byte_order) == ["Z", "a10", "a2", "b", "é"]


def test_clipping_moves_only_what_is_outside():
    assert clip_box((-1, 2, 401, 30), 400, 267) == (0, 2, 400, 30)
    assert clip_box((1.5, 2, 3, 4), 400, 267) == (1.5, 2, 3, 4)


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((20, 2, 10, 9), "swapped"),
        ((1, 9, 10, 2), "swapped"),
        ((5, 5, 5, 9), "no area"),
        ((41, 2, 50, 9), "outside the picture of 40x30"),
        ((40, 2, 50, 9), "outside"),
        ((-9, 2, 0, 9), "outside"),
        ((2, 30.5, 9, 31), "outside"),
        ((1, 2, 1.5, 3.9), "(1, 2) to (1.5, 3.9) covers less than one px"),
        ((39.5, 2, 99, 3), "covers less than one px"),
    ],
)
def test_boxes_without_area_in_the_picture_are_explained(box, text):
    assert text in box_problem(tuple(map(float, box)), 40, 30)


@pytest.mark.parametrize("box", [(0, 0, 40, 30), (39, 2, 41, 9), (-5, -5, 99, 99), (1.5, 2.5, 2.5, 3.5)])
def test_boxes_with_area_in_the_picture_are_fine(box):
    assert box_problem(tuple(map(float, box)), 40, 30) is None


def test_numbers_are_written_as_annotated():
    assert [format_number(value) for value in (10.0, -1.0, 10.5, 0.1)] == ["10", "-1", "10.5", "0.1"]
