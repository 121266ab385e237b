"""captions.jsonl: any bytes are captions or refused by file and line, and what is written is read back."""

import json

import numpy as np
from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st

from gdino_lightning.data.grounding import GroundedPicture, read_captions
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import DatasetError

WIDTH, HEIGHT = 400, 300
LINE = {
    "image_name": "a.png",
    "caption": "a man behind two dogs",
    "phrases": [{"spans": [[0, 5]], "boxes": [[10, 20, 110, 220]]}, {"spans": [[13, 21]], "boxes": []}],
}
GOOD = json.dumps(LINE).encode() + b"\n\n" + json.dumps(LINE | {"caption": "ein Mann mit Hüten"}).encode() + b"\n"
TOKENS = (
    *(b'"', b"\\", b"\\ud800", b"\\u0000", b"[" * 50, b"{", b"}", b",", b":", b"null", b"true", b"NaN", b"-Infinity"),
    *(b"1e999", b"9" * 400, b"9" * 5000, b"-1", b"0.5", b"\n", b"\r", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff", b"\0"),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from((*LINE, "spans", "boxes", "")), inner),
    max_leaves=8,
)


def read(data: bytes) -> list[GroundedPicture]:
    path = file_of(data, CAPTIONS_NAME)
    picture = Picture(path.parent / "images" / "a.png", WIDTH, HEIGHT, np.zeros((0, 4), np.float32), ())
    return read_captions(path.parent, [picture])


def check(data: bytes) -> None:
    place = str(file_of(data, CAPTIONS_NAME))
    for caption in answer(lambda: read(data), DatasetError, place) or ():
        assert caption.place.startswith(place)
        assert caption.boxes_px.shape == (len(caption.labels), 4)
        assert (caption.boxes_px >= 0).all()
        assert (caption.boxes_px <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
        assert set(caption.labels) <= set(range(len(caption.caption.spans)))
        caption.caption.text.encode()


@fuzz(st.binary(max_size=300))
@example(b"[" * 100_000)
def test_any_bytes_are_read_or_refused(data):
    check(data)


@fuzz(mutated(GOOD, TOKENS))
def test_a_damaged_file_is_read_or_refused(data):
    check(data)


@fuzz(st.dictionaries(st.sampled_from((*LINE, "other")), json_values, max_size=4).map(lambda some: LINE | some))
def test_odd_values_are_read_or_refused(line):
    check(json.dumps(line).encode())


@st.composite
def captions(draw: st.DrawFn) -> dict[str, object]:
    """A caption as documented: phrases that are pieces of its text, with boxes inside the picture."""
    text = draw(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(str.strip))
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).filter(
        lambda span: span[0] < span[1] and text[span[0] : span[1]].strip()
    )
    boxes = st.tuples(st.integers(0, 300), st.integers(0, 200), st.integers(1, 99), st.floats(1, 99)).map(
        lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    )
    spans = draw(st.lists(places, min_size=1, max_size=3, unique=True))
    phrases = [{"spans": [list(span)], "boxes": draw(st.lists(boxes, max_size=3, unique_by=tuple))} for span in spans]
    return {"image_name": "a.png", "caption": text, "phrases": phrases}


@fuzz(st.lists(captions(), max_size=3), st.booleans())
def test_what_is_written_is_read_back(written, ascii_only):
    lines = [json.dumps(each, ensure_ascii=ascii_only) + "\n" for each in written]
    found = read("".join(lines).encode())
    assert len(found) == len(written)
    for given, caption in zip(written, found, strict=True):
        assert caption.caption.text == given["caption"]
        assert [[list(span) for span in spans] for spans in caption.caption.spans] == [
            phrase["spans"] for phrase in given["phrases"]
        ]
        boxes = [(index, *box) for index, phrase in enumerate(given["phrases"]) for box in phrase["boxes"]]
        assert list(zip(caption.labels, *caption.boxes_px.T, strict=True)) == [
            (index, *np.float32(box)) for index, *box in boxes
        ]
