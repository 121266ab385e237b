import json

import numpy as np
import pytest
from voc_factory import png, write_files

from gdino_lightning.data.grounding import read_captions
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import DatasetError

TEXT = "a man in a red coat behind two dogs"
MAN = {"spans": [[0, 5]], "boxes": [[1, 2, 20, 25]]}
DOGS = {"spans": [[27, 35]], "boxes": [[3, 4, 9.5, 8], [0, 0, 5, 5]]}
LINE = {"image_name": "a.png", "caption": TEXT, "phrases": [MAN, DOGS]}
NEGATIVE_BOX = np.zeros((0, 4), np.float32)


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path, {"images/a.png": png(), "images/b.png": png(60, 20)})


@pytest.fixture
def pictures(folder):
    sizes = {"a.png": (40, 30), "b.png": (60, 20)}
    return [Picture(folder / "images" / name, *size, NEGATIVE_BOX, ()) for name, size in sizes.items()]


@pytest.fixture
def read(folder, pictures):
    """Writes the captions file and reads it."""

    def run(content):
        data = content if isinstance(content, bytes) else content.encode()
        (folder / CAPTIONS_NAME).write_bytes(data)
        return read_captions(folder, pictures)

    return run


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def phrase(**changes):
    """A line with one phrase, changed; None leaves a key out."""
    return changed({**LINE, "phrases": [{k: v for k, v in {**MAN, **changes}.items() if v is not None}]})


def changed(line=None, **changes):
    return json.dumps({k: v for k, v in {**(line or LINE), **changes}.items() if v is not None})


def test_a_line_gives_picture_text_spans_and_boxes(read, folder):
    (caption,) = read(lines(LINE))
    assert caption.path == folder / "images" / "a.png"
    assert (caption.name, caption.width, caption.height) == ("a.png", 40, 30)
    assert caption.caption.text == TEXT
    assert caption.caption.spans == (((0, 5),), ((27, 35),))
    assert caption.caption.phrases == ("a man", "two dogs")
    np.testing.assert_array_equal(caption.boxes_px, [[1, 2, 20, 25], [3, 4, 9.5, 8], [0, 0, 5, 5]])
    assert caption.boxes_px.dtype == np.float32
    assert caption.labels == (0, 1, 1)


def test_a_phrase_may_have_several_spans_and_no_box(read):
    coat = {"spans": [[9, 10], [15, 19]], "boxes": []}
    (caption,) = read(lines({**LINE, "phrases": [coat, MAN]}))
    assert caption.caption.phrases == ("a coat", "a man")
    assert caption.labels == (1,)
    (caption,) = read(lines({**LINE, "phrases": [coat]}))
    assert (caption.boxes_px.shape, caption.boxes_px.dtype, caption.labels) == ((0, 4), np.float32, ())


def test_one_picture_may_have_several_captions_in_the_order_of_the_file(read):
    other = {**LINE, "caption": "two dogs", "phrases": [{"spans": [[0, 8]], "boxes": []}]}
    captions = read(lines({**LINE, "image_name": "b.png"}, LINE, other))
    assert [(c.name, c.caption.text) for c in captions] == [("b.png", TEXT), ("a.png", TEXT), ("a.png", "two dogs")]


def test_spans_count_characters_not_bytes(read):
    text = "ein Müllmann 😀 vor zwei Hündchen"
    start = text.index("zwei")
    line = {**LINE, "caption": text, "phrases": [{"spans": [[start, len(text)]], "boxes": []}]}
    for content in (lines(line), json.dumps(line, ensure_ascii=False)):  # escaped, and as such
        assert read(content)[0].caption.phrases == ("zwei Hündchen",)


def test_boxes_are_clipped_to_their_picture(read):
    (caption,) = read(phrase(boxes=[[-1, 2, 41, 30.5], [10, -5, 20, 10]]))
    np.testing.assert_array_equal(caption.boxes_px, [[0, 2, 40, 30], [10, 0, 20, 10]])


def test_a_box_twice_in_one_phrase_counts_once_but_two_phrases_may_share_it(read):
    (caption,) = read(
        lines({**LINE, "phrases": [{**MAN, "boxes": [[1, 2, 3, 4]] * 2}, {**DOGS, "boxes": [[1, 2, 3, 4]]}]})
    )
    assert caption.labels == (0, 1)


def test_no_file_or_an_empty_one_means_no_captions(read, folder, pictures):
    assert read_captions(folder, pictures) == []
    assert read("") == read("\n \r\n") == []


@pytest.mark.parametrize(
    "content",
    ["\ufeff" + lines(LINE), lines(LINE).replace("\n", "\r\n"), "\n" + lines(LINE) + "\n\n", lines(LINE).rstrip()],
    ids=["byte order mark", "CRLF", "blank lines", "no final newline"],
)
def test_files_written_by_other_programs_are_read(read, content):
    assert [caption.caption.text for caption in read(content)] == [TEXT]


def test_a_rare_line_end_inside_a_text_ends_no_line(read):
    text = "a man\u2028and two dogs"
    content = json.dumps({**LINE, "caption": text, "phrases": [MAN]}, ensure_ascii=False)
    assert read(content)[0].caption.text == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"is no JSON at column 2 \("),
        ("[" * 100_000, "too many brackets"),
        ("[" * 500 + "]" * 500, "is not an object with the keys image_name, caption, phrases"),
        (lines(LINE).strip() + lines(LINE).strip(), "is no JSON at column"),
        ("3", "3 is not an object with the keys"),
        (json.dumps([LINE]), "is not an object with the keys"),
        (changed(image_name=None), "key image_name is missing; write an object with the keys image_name, caption"),
        (changed(caption=None), "key caption is missing"),
        (changed(phrases=None), "key phrases is missing"),
        (changed(label="man"), "key 'label' is unknown"),
        (changed()[:-1] + ', "caption": "two dogs"}', "key 'caption' appears twice; remove one"),
        (changed(image_name="c.png"), r"picture 'c\.png' is not in .*images; add the picture or remove the line"),
        (changed(image_name="../a.png"), "image_name is '../a.png', expected a bare file name"),
        (changed(image_name="/etc/passwd"), "image_name is '/etc/passwd', expected a bare file name"),
        (changed(image_name=["a.png"]), "image_name is .*, expected a text"),
        (changed(caption=""), "caption: the text is empty"),
        (changed(caption=7), "caption is 7, expected a text"),
        (changed(caption="a man \ud83d in a red coat behind two dogs"), "caption is .*half of a character"),
        (changed(phrases=[]), "every phrase needs at least one"),
        (changed(phrases={"spans": [[0, 5]], "boxes": []}), "phrases is {.*, expected a list"),
        (changed(phrases=[MAN, "two dogs"]), 'phrase 2: "two dogs" is not an object with the keys spans, boxes'),
        (changed(phrases=[MAN, {"spans": [[27, 35]]}]), "phrase 2: key boxes is missing"),
        (phrase(spans=None), "phrase 1: key spans is missing"),
        (phrase(score=1), "phrase 1: key 'score' is unknown"),
        (phrase(spans=[]), "every phrase needs at least one"),
        (phrase(spans=[[0, 36]]), r"span \(0, 36\) marks no word of its 35 characters"),
        (phrase(spans=[[-2, 5]]), r"span \(-2, 5\) marks no word"),
        (phrase(spans=[[5, 5]]), r"span \(5, 5\) marks no word"),
        (phrase(spans=[[5, 6]]), r"span \(5, 6\) marks no word"),
        (phrase(spans=[[5, 0]]), r"span \(5, 0\) marks no word"),
        (phrase(spans=[0, 5]), r"phrase 1: span 0 is not \[start, end\] in whole characters"),
        (phrase(spans=[[0, 5.5]]), r"phrase 1: span \[0, 5.5\] is not"),
        (phrase(spans=[[False, True]]), r"phrase 1: span \[false, true\] is not"),
        (phrase(spans=[[0, 5, 6]]), r"phrase 1: span \[0, 5, 6\] is not"),
        (phrase(spans="0-5"), 'phrase 1: spans is "0-5", expected a list'),
        (changed(phrases=[MAN, MAN]), "the phrase 'a man' .*is given twice"),
        (phrase(boxes=[1, 2, 20, 25]), r"phrase 1: box 1 is not \[x1, y1, x2, y2\] in px"),
        (phrase(boxes=[[1, 2, 20]]), r"phrase 1: box \[1, 2, 20\] is not"),
        (phrase(boxes=[[1, 2, "20", 25]]), "phrase 1: box .* is not"),
        (phrase(boxes=[[True, 2, 20, 25]]), "phrase 1: box .* is not"),
        (phrase(boxes=[[1, 2, float("nan"), 25]]), "a number is 'NaN'"),
        (phrase(boxes=[[1, 2, float("inf"), 25]]), "a number is 'Infinity'"),
        (phrase().replace("25", "1e999"), "a number is '1e999', expected a finite number"),
        (phrase().replace("25", "9" * 5000), "a number is '9999.*, expected a finite number"),
        (phrase(boxes=[[1, 2, 1, 25]]), r"phrase 1: box \(1, 2\) to \(1, 25\) has no area"),
        (phrase(boxes=[[20, 2, 1, 25]]), "phrase 1: box .* are the corners swapped"),
        (phrase(boxes=[[40, 2, 50, 25]]), "phrase 1: box .* lies outside the picture of 40x30 px"),
    ],
)
def test_lines_that_cannot_be_used_are_refused_by_their_number(read, folder, line, message):
    with pytest.raises(DatasetError, match=message) as raised:
        read(lines(LINE) + "\n" + line + "\n" + lines(LINE))
    text = str(raised.value)
    assert text.startswith(f"{folder / CAPTIONS_NAME}:3: ")
    assert "\n" not in text
    assert len(text) < 400


def test_other_encodings_are_refused(read, folder):
    text = lines(LINE) + json.dumps({**LINE, "caption": TEXT + " in Köln"}, ensure_ascii=False)
    for data, line in ((text.encode("latin-1"), 2), (text.encode("utf-16"), 1)):
        with pytest.raises(DatasetError, match=r"is not UTF-8; save the file as UTF-8") as raised:
            read(data)
        assert str(raised.value).startswith(f"{folder / CAPTIONS_NAME}:{line}: ")


def test_a_file_that_cannot_be_read_is_named(folder, pictures):
    (folder / CAPTIONS_NAME).mkdir()
    with pytest.raises(DatasetError, match=r"captions\.jsonl: cannot be read"):
        read_captions(folder, pictures)
