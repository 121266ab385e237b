"""VOC XML: any bytes are read or refused by name, and what is written is read back."""

import math
from xml.sax.saxutils import escape

from fuzzing import answer, check_message, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st

from gdino_lightning.data.annotation import AnnotatedObject
from gdino_lightning.data.fields import Box
from gdino_lightning.data.voc import VocAnnotation, scan_voc
from gdino_lightning.errors import DatasetError

NAME = "xml/a.xml"
TOKENS = (
    *(b"<object>", b"</object>", b"<bndbox/>", b"<name>", b"<xmin>1e999</xmin>", b"<size><width>0</width></size>"),
    *(
        b"<!DOCTYPE a [<!ENTITY e 'x'>]>",
        b"&e;",
        b"&lt;",
        b"&#0;",
        b"&#x10ffff;",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
        b"<?pi?>",
    ),
    *(b'<?xml version="1.1" encoding="UTF-7"?>', b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\xff", b'xmlns="u:v"', b"\n"),
)
NESTED = b"<annotation>" + b"<a>" * 100 + b"</a>" * 100 + b"</annotation>"

odd_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        (
            "",
            " ",
            "1",
            "-1",
            "0",
            "1e999",
            "nan",
            "1_0",
            "٣",
            "0x1",
            "1,5",
            "+.5",
            "1" * 400,
            "..",
            "/a",
            "a\\b",
            "\n a \n",
        )
    ),
)
numbers = st.one_of(st.integers(-(10**6), 10**6).map(float), st.floats(allow_nan=False, allow_infinity=False))
# what XML can hold, less control characters, which a label must not have
letters = st.characters(exclude_categories=("C",), exclude_characters="\u2028\u2029")
labels = st.text(letters, min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)
names = st.text(st.characters(exclude_categories=("C",), exclude_characters="/\\:"), min_size=1, max_size=30).filter(
    lambda text: text.strip(" \t\r\n") == text and text not in {".", ".."}
)


def element(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def object_xml(name: str, corners: tuple[str, ...]) -> str:
    box = "".join(map(element, ("xmin", "ymin", "xmax", "ymax"), corners))
    return f"<object>{element('name', name)}<bndbox>{box}</bndbox></object>"


def document(filename: str, size: tuple[str, str], objects: list[tuple[str, tuple[str, ...]]]) -> str:
    sides = element("width", size[0]) + element("height", size[1])
    found = "\n".join(object_xml(*each) for each in objects)
    return f"<annotation>{element('filename', filename)}<size>{sides}</size>\n{found}\n</annotation>"


documents = st.builds(
    document,
    odd_texts,
    st.tuples(odd_texts, odd_texts),
    st.lists(st.tuples(odd_texts, st.tuples(*[odd_texts] * 4)), max_size=3),
)
GOOD = document("a.png", ("40", "30"), [("cat", ("1", "2", "20", "25")), ("no. 1", ("1.5", "2", "3", "4"))]).encode()


LONG = b"a" * 3_000


def check(data: bytes) -> None:
    found = answer(lambda: scan_voc(data, NAME), DatasetError, NAME)
    if found is not None:
        annotation, problems = found
        for problem in problems:
            check_message(problem, NAME)
        assert annotation.filename
        assert not {"/", "\\", ":"} & set(annotation.filename)
        assert all(item.label == " ".join(item.label.split()) != "" for item in annotation.objects)
        assert all(math.isfinite(corner) for item in annotation.objects for corner in item.box_px)


@fuzz(st.binary(max_size=400))
@example(NESTED)
@example(b"\xff\xfe<\0a\0")
def test_any_bytes_are_read_or_refused(data):
    check(data)


@fuzz(mutated(GOOD, TOKENS))
@example(b"<" + LONG + b"><x></x>")
@example(b"<" + LONG + b"/>")
@example(b'<?xml version="1.0" encoding="' + LONG + b'"?><annotation/>')
def test_a_damaged_file_is_read_or_refused(data):
    check(data)


@fuzz(
    documents,
    st.sampled_from(
        ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp037", "latin-1", "koi8-r", "gb18030")
    ),
    st.sampled_from(("", "UTF-8", "UTF-16", "ISO-8859-1", "UTF-7", "IBM037", "none-such", "x" * 50)),
)
def test_odd_values_in_any_encoding_are_read_or_refused(text, encoding, declared):
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    check((declaration + text).encode(encoding, "replace"))


@fuzz(
    names, st.tuples(*[st.integers(1, 100_000)] * 2), st.lists(st.tuples(labels, st.tuples(*[numbers] * 4)), max_size=4)
)
@example("\N{NO-BREAK SPACE}", (1, 1), [])
def test_what_is_written_is_read_back(filename: str, size: tuple[int, int], items: list[tuple[str, Box]]):
    written = [(label, tuple(map(repr, box))) for label, box in items]
    data = document(filename, (str(size[0]), str(size[1])), written).encode()
    expected = tuple(
        AnnotatedObject(label, box, number, number + 1) for number, (label, box) in enumerate(items, start=1)
    )
    assert scan_voc(data, NAME) == (VocAnnotation("a.xml", filename, size, expected), [])


@fuzz(labels, st.lists(st.sampled_from((" ", "\n", "\t", "\r\n")), max_size=3).map("".join))
def test_space_round_a_label_and_in_it_is_folded(label, space):
    written = space + label.replace(" ", f" {space}") + space
    data = document("a.png", ("1", "1"), [(written, ("1", "2", "3", "4"))]).encode()
    assert [item.label for item in scan_voc(data, NAME)[0].objects] == [label]
