import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voc_factory import object_xml, voc_xml

from gdino_lightning.data.annotation import AnnotatedObject
from gdino_lightning.data.voc import MAX_BYTES, VocAnnotation, scan_voc
from gdino_lightning.errors import DatasetError

GOOD = voc_xml("a.png", [("with_mask", (79, 105, 109, 142)), ("no. 1", (1, 2, 3, 4))], size=(400, 267))
BOX = ("cat", (1, 2, 3, 4))


def parsed(data: bytes, name: str) -> VocAnnotation:
    """The annotation of a file without a bad object."""
    annotation, problems = scan_voc(data, name)
    if problems:
        raise problems[0]
    return annotation


def refused(data: bytes) -> str:
    with pytest.raises(DatasetError) as raised:
        parsed(data, "xml/a.xml")
    message = str(raised.value)
    assert message.startswith("xml/a.xml:")
    return message


def parsed_or_refused(data: bytes) -> VocAnnotation | None:
    try:
        return parsed(data, "xml/a.xml")
    except DatasetError:
        refused(data)
        return None


def test_a_good_file_gives_all_it_says():
    annotation = parsed(GOOD, "xml/a.xml")
    assert annotation.name == "a.xml"
    assert annotation.filename == "a.png"
    assert annotation.size == (400, 267)
    assert annotation.objects == (
        AnnotatedObject("with_mask", (79.0, 105.0, 109.0, 142.0), number=1, line=4),
        AnnotatedObject("no. 1", (1.0, 2.0, 3.0, 4.0), number=2, line=6),
    )


def test_a_file_without_object_is_a_negative():
    assert parsed(voc_xml("a.png"), "a.xml").objects == ()


def test_a_missing_filename_is_the_stem_and_a_missing_size_is_none():
    annotation = parsed(b"<annotation/>", "folder/b.xml")
    assert annotation.filename == "b"
    assert annotation.size is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_other_encodings_are_read(encoding):
    declared = "UTF-16" if encoding.startswith("utf-16") else encoding.replace("-sig", "")
    text = f'<?xml version="1.0" encoding="{declared}"?>' + voc_xml("ä.png", [("müll", (1, 2, 3, 4))]).decode()
    annotation = parsed(text.encode(encoding), "a.xml")
    assert annotation.filename == "ä.png"
    assert annotation.objects[0].label == "müll"


def test_namespaces_are_stripped():
    data = GOOD.replace(b"<annotation>", b'<annotation xmlns="http://example.org/voc">')
    assert parsed(data, "a.xml").objects == parsed(GOOD, "a.xml").objects


def test_boxes_of_parts_are_not_objects():
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    data = voc_xml("a.png", [BOX]).replace(b"</object>", part.encode() + b"</object>")
    assert [item.label for item in parsed(data, "a.xml").objects] == ["cat"]


def test_comments_and_space_inside_values_do_no_harm():
    data = voc_xml("a.png", [(" \n cat ", (" 1", "2.5\n", "1<!-- x -->0", "4e1"))])
    item = parsed(data, "a.xml").objects[0]
    assert (item.label, item.box_px) == ("cat", (1.0, 2.5, 10.0, 40.0))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty file"),
        (b" \n\t", "empty file"),
        (b"\xff\xfe", "not well-formed"),
        (b"<annotation>\n<object>\n</annotation>", ":3:"),
        (GOOD[:100], "not well-formed"),
        (GOOD + b"<annotation/>", "not well-formed"),
        (GOOD.replace(b"a.png", b"a\0.png"), "not well-formed"),
        (GOOD.replace(b"a.png", b"a\x01.png"), "not well-formed"),
        (GOOD.replace(b"a.png", b"\xe4.png"), "not well-formed"),
        (b'<?xml version="1.0" encoding="klingon"?>' + GOOD, "klingon"),
        (b"<!doctype html><html><body>404</body></html>", "root is <html>, expected <annotation>"),
        (b"<html><body>404</body></html>", "root is <html>"),
        (b"<annotations/>", "root is <annotations>, expected <annotation>"),
        (b"plain text", "not well-formed"),
    ],
)
def test_files_that_are_no_annotation_are_refused(data, text):
    assert text in refused(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entity_bombs_are_refused_at_once(encoding):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE annotation [<!ENTITY e0 "x">{entities}]><annotation><name>&e11;</name></annotation>'
    started = time.perf_counter()
    assert "DOCTYPE is not allowed" in refused(bomb.encode(encoding))
    assert time.perf_counter() - started < 0.1


def test_external_entities_are_not_read(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    doctype = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    assert "secret" not in refused(doctype.encode() + GOOD.replace(b"with_mask", b"&x;")).replace(str(secret), "")


def test_a_doctype_hidden_by_its_encoding_is_refused():
    text = '<?xml version="1.0" encoding="UTF-7"?>\n<!DOCTYPE annotation [<!ENTITY x "y">]><annotation/>'
    refused(text.replace("<!", "+ADwAIQ-").encode())


def test_size_and_depth_are_limited():
    assert "bytes" in refused(b"<annotation>" + b" " * MAX_BYTES + b"</annotation>")
    assert "nested" in refused(b"<annotation>" + b"<a>" * 64 + b"</a>" * 64 + b"</annotation>")
    assert "refused" not in str(parsed(b"<annotation>" + b"<a>" * 63 + b"</a>" * 63 + b"</annotation>", "a.xml"))
    refused(b"<annotation>" + b"<a>" * 100_000)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\a.png", "a\\b.png", "..", "."])
def test_file_names_that_are_not_bare_are_refused(name):
    message = refused(voc_xml(name))
    assert message.startswith("xml/a.xml:2: <filename>")
    assert "bare file name" in message


@pytest.mark.parametrize("side", ["0", "-3", "wide", "", "2.5", "nan"])
def test_impossible_sizes_are_refused(side):
    assert refused(voc_xml("a.png", size=(40, side))).startswith("xml/a.xml:3: <height> is")


def test_half_a_size_is_refused():
    data = voc_xml("a.png").replace(b"<width>40</width>", b"")
    assert "<width> is missing" in refused(data)


@pytest.mark.parametrize("value", ["ten", "", "nan", "inf", "1e400", "0x10", "1_0", "1,5", "\u0661"])
def test_bad_coordinates_name_line_and_object(value):
    data = voc_xml("a.png", [BOX, ("with_mask", (1, 2, value, 4))])
    assert refused(data).startswith("xml/a.xml:7: object 2 (with_mask): <xmax> is ")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("<name>cat</name>", "", "object 1: <name> is missing"),
        ("<name>cat</name>", "<name> </name>", "object 1: <name> is empty"),
        ("<ymin>2</ymin>", "", "object 1 (cat): <ymin> is missing"),
        ("<ymin>2</ymin>", "<ymin>2</ymin><ymin>3</ymin>", "<ymin> appears twice"),
        ("bndbox>", "polygon>", "object 1 (cat): <bndbox> is missing"),
    ],
)
def test_incomplete_objects_are_refused(old, new, text):
    assert text in refused(voc_xml("a.png", [BOX]).replace(old.encode(), new.encode()))


def test_scanning_returns_the_good_objects_and_every_problem():
    data = voc_xml("a.png", [BOX, ("cat", ("x", 2, 3, 4)), ("dog", (1, 2, 3, 4)), ("", (1, 2, 3, 4))])
    annotation, problems = scan_voc(data, "a.xml")
    assert [(item.number, item.label) for item in annotation.objects] == [(1, "cat"), (3, "dog")]
    assert [str(problem).split(":")[1:3] for problem in problems] == [
        ["7", " object 2 (cat)"],
        ["10", " object 4"],
    ]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    annotation = parsed_or_refused(data)
    assert annotation is None or annotation.filename


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_damaged_file_is_parsed_or_refused(place, patch, insert):
    data = GOOD[:place] + patch + GOOD[place if insert else place + len(patch) :]
    annotation = parsed_or_refused(data)
    assert annotation is None or all(item.label.strip() for item in annotation.objects)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="<>&"), min_size=1, max_size=20),
    st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 4),
)
def test_every_label_and_box_comes_back_as_written(label, box):
    data = ("<annotation>" + object_xml(label, [repr(value) for value in box]) + "</annotation>").encode()
    item = parsed(data, "a.xml").objects[0]
    assert (item.label, item.box_px) == (label, box)
