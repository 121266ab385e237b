"""Catalogue X: Pascal VOC XML, read by `prepare`; labels that are no class, met by `fit`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from prepared_factory import write_split
from voc_factory import Item, png, voc_xml

from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.voc import MAX_BYTES, MAX_DEPTH
from tests.bad_inputs.case import FIT, Case, Handled, Refused, dataset

CAT = ("cat", (1, 2, 20, 25))
GOOD = voc_xml("p0.png", [CAT])
FILE = r"^  data/annotations/p0\.xml"
LOST = "1 x unreadable annotation"
DECLARED = b'<?xml version="1.0" encoding="%s"?>\n'


def _xml(data: bytes) -> Callable[[], object]:
    """A dataset whose first annotation is this."""
    return partial(dataset, {"annotations/p0.xml": data})


def _items(*items: Item) -> Callable[[], object]:
    """A dataset whose first picture has these objects."""
    return _xml(voc_xml("p0.png", items))


def _broken(code: str, says: str, data: bytes, message: str) -> Case:
    """A file that is no annotation at all: its picture is lost with it."""
    return Case(code, says, _xml(data), Refused(FILE + message, LOST))


def _bad_object(code: str, says: str, data: bytes, message: str) -> Case:
    """An object that cannot be used, after a good one that can."""
    return Case(code, says, _xml(data), Refused(FILE + message, "1 x unreadable object", boxes=5, pictures=6))


def _bad_box(code: str, says: str, items: list[Item], message: str, boxes: int = 5) -> Case:
    """Boxes that cannot be used, beside a good one."""
    counted = rf"{len(items)} x "
    return Case(code, says, _items(CAT, *items), Refused(FILE + message, counted, pictures=6, boxes=boxes))


def _two_objects(old: str, new: str) -> bytes:
    """Two objects, the second one changed."""
    first, second, end = voc_xml("p0.png", [CAT, ("dog", (5, 6, 7, 8))]).decode().partition("<object><name>dog")
    return (first + (second + end).replace(old, new, 1)).encode()


def _encoded(encoding: str, declared: str) -> bytes:
    text = DECLARED.decode() % declared + voc_xml("p0.png", [("müll", CAT[1])]).decode()
    return text.encode(encoding)


def _bomb(levels: int, size: int) -> bytes:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, levels))
    doctype = f'<!DOCTYPE annotation [<!ENTITY e0 "{"x" * size}">{entities}]>\n'
    return doctype.encode() + GOOD.replace(b"cat", f"&e{levels - 1};".encode())


def _external() -> None:
    Path("secret.txt").write_text("1")
    doctype = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{Path("secret.txt").absolute().as_uri()}">]>\n'
    dataset({"annotations/p0.xml": doctype.encode() + GOOD.replace(b"<xmin>1", b"<xmin>&x;")})


def _labels(split: str = "train") -> list[str]:
    return sorted(label for picture in read_split(Path("out") / split) for label in picture.labels)


def _all_labels_are(label: str) -> Callable[[], None]:
    """Checks that a reader of the prepared folder gets four cats and this."""

    def check() -> None:
        assert sorted(_labels("train") + _labels("test")) == sorted(["cat"] * 4 + [label])

    return check


def _prepared_cats() -> None:
    for split in ("train", "test"):
        write_split(Path("out") / split, {f"{split}{index}.png": [CAT] for index in range(3)})


def _prepared_with_another_label() -> None:
    write_split(Path("out/train"), {"a.png": [CAT], "b.png": [("helmet", (1, 2, 20, 25))]})
    write_split(Path("out/test"), {"c.png": [CAT]})


CASES = [
    _broken("X01", "a tag that is not closed", GOOD.replace(b"</object>", b""), r":\d+:\d+: not well-formed XML: .+"),
    _broken("X02", "a file cut short", GOOD[:100], r":\d+:\d+: not well-formed XML: .+"),
    _broken("X03", "an empty file", b"", ": empty file, expected a VOC <annotation>"),
    _broken("X03", "white space alone", b" \n\t\n", ": empty file, expected a VOC <annotation>"),
    _broken("X04", "text after the root", GOOD + b"junk", r":\d+:\d+: not well-formed XML: Extra content"),
    _broken("X04", "two roots", GOOD + GOOD, r":\d+:\d+: not well-formed XML: Extra content"),
    _broken("X05", "a NUL in a value", GOOD.replace(b"cat", b"c\0at"), r":4:\d+: not well-formed XML: .+"),
    _broken("X05", "a control character", GOOD.replace(b"cat", b"c\x01at"), r":4:\d+: not well-formed XML: .+"),
    _broken(
        "X06",
        "bytes that are no UTF-8",
        GOOD.replace(b"cat", b"m\xfcll"),
        r":4:\d+: not well-formed XML: .* encoding UTF-8; save the file as UTF-8",
    ),
    _broken(
        "X06",
        "bytes outside the declared encoding",
        DECLARED % b"US-ASCII" + GOOD.replace(b"cat", b"m\xfcll"),
        r":\d+:\d+: not well-formed XML: .* encoding US-ASCII; save the file as UTF-8",
    ),
    _broken("X07", "an unknown encoding", DECLARED % b"klingon" + GOOD, r"(:1:\d+)?: not .*klingon"),
    *(
        Case("X08", says, _xml(data), Handled("skipped    nothing", also=_all_labels_are("müll")))
        for says, data in {
            "UTF-8 with a byte order mark": _encoded("utf-8-sig", "UTF-8"),
            "UTF-16": _encoded("utf-16", "UTF-16"),
            "Latin-1, declared": _encoded("iso-8859-1", "ISO-8859-1"),
        }.items()
    ),
    _broken(
        "X09",
        "a web page saved as XML",
        b"<!doctype html>\n<html><body>404</body></html>",
        ":1: root is <html>, expected <annotation>; is it a saved web page",
    ),
    _broken("X09", "another root", b"<annotations/>", ":1: root is <annotations>, expected <annotation>"),
    Case(
        "X10",
        "a namespace",
        _xml(GOOD.replace(b"<annotation>", b'<annotation xmlns="http://example.org/voc">')),
        Handled("skipped    nothing"),
    ),
    _broken("X11", "a billion laughs", _bomb(11, 1), ": DOCTYPE is not allowed in annotations; remove that line"),
    _broken("X12", "a small entity bomb", _bomb(2, 1000), ": DOCTYPE is not allowed in annotations; remove that line"),
    Case("X13", "an external entity", _external, Refused(FILE + ": DOCTYPE is not allowed in annotations", LOST)),
    _broken(
        "X14", "more than 10 MB", GOOD + b" " * MAX_BYTES, r": 10,\d+,\d+ bytes, an annotation has at most 10,000,000"
    ),
    _broken(
        "X14",
        "tags nested too deep",
        b"<annotation>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</annotation>",
        ":1: more than 64 nested tags",
    ),
    _broken("X14", "90,000 nested tags", b"<annotation>" + b"<a>" * 90_000, r":1:\d+: not well-formed XML: .+"),
    _broken("X14", "100,000 tags", b"<annotation>" + b"<a>" * 100_000, ": more than 100,000 tags, which is no annotat"),
    Case(
        "X15",
        "no <filename>",
        _xml(GOOD.replace(b"<filename>p0.png</filename>", b"")),
        Handled("matched    1 annotation names no picture of the source and went by its own file name"),
    ),
    *(
        _broken(code, says, voc_xml(name, [CAT]), r":2: <filename> is '.+', expected a bare file name without folders")
        for code, says, name in (
            ("X16", "a path that leaves the folder", "../../etc/passwd"),
            ("X17", "an absolute path", "/etc/passwd"),
            ("X17", "a drive letter", "C:p0.png"),
            ("X17", "a backslash", "images\\p0.png"),
            ("X17", "the folder itself", "."),
        )
    ),
    Case(
        "X18",
        "<filename> of a picture that exists, the XML's own name of none",
        partial(dataset, {"annotations/p0.xml": None, "annotations/other.xml": GOOD}),
        Handled("skipped    nothing"),
    ),
    Case(
        "X18",
        "<filename> of no picture, the XML's own name of one",
        _xml(voc_xml("renamed.png", [CAT])),
        Handled("matched    1 annotation names no picture of the source and went by its own file name"),
    ),
    Case(
        "X18",
        "<filename> and own name of two pictures",
        partial(dataset, {"annotations/p0.xml": voc_xml("p1.png", [CAT]), "annotations/p1.xml": None}),
        Refused(
            FILE + ": <filename> is 'p1.png', but 'p0.png' exists as well; rename the XML or correct <filename>",
            "1 x annotation without its picture",
            pictures=4,
            boxes=3,
        ),
    ),
    Case(
        "X19",
        "one picture, two annotations",
        partial(dataset, {"annotations/other.xml": GOOD}),
        Refused(
            r"^  data/annotations/other\.xml and data/annotations/p0\.xml: both are for picture 'p0\.png'; keep one",
            "1 x several annotations for one picture",
        ),
    ),
    *(
        Case("X20", f"<filename> {name} for p0.png", _xml(voc_xml(name, [CAT])), Handled("matched    1 annotation"))
        for name in ("p0.PNG", "p0.jpg")
    ),
    Case(
        "X20",
        "a name that fits two pictures",
        partial(dataset, {"annotations/p0.xml": voc_xml("p0.gif", [CAT]), "images/p0.bmp": png()}),
        Refused(
            FILE + r": fits several pictures \(p0\.bmp, p0\.png\); name one in <filename>",
            "1 x annotation without its picture, 2 x picture without annotation",
        ),
    ),
    Case(
        "X21",
        "no <size>",
        _xml(GOOD.replace(b"<size><width>40</width><height>30</height></size>", b"")),
        Handled("skipped    nothing"),
    ),
    *(
        _broken("X22", f"a height of {side!r}", voc_xml("p0.png", [CAT], (40, side)), r":3: <height> is .+")
        for side in ("0", "-3", "tall", "2.5", "")
    ),
    Case(
        "X23",
        "another size than the picture's",
        _xml(voc_xml("p0.png", [CAT], (41, 30))),
        Refused(
            FILE + r": <size> is 41x30 px, the picture has 40x30; check the annotation",
            "1 x size differs from annotation",
        ),
    ),
    Case(
        "X23",
        "width and height swapped",
        _xml(voc_xml("p0.png", [CAT], (30, 40))),
        Refused(
            FILE + r": <size> is 30x40 px, the picture has 40x30; swapped\? .*EXIF",
            "1 x size differs from annotation",
        ),
    ),
    _bad_object("X24", "no <name>", _two_objects("<name>dog</name>", ""), ":6: object 2: <name> is missing"),
    _bad_object(
        "X24", "an empty <name>", _two_objects("dog", " "), ":6: object 2: <name> is empty, expected a class name"
    ),
    Case(
        "X25",
        "a label that is no class of the model",
        _prepared_with_another_label,
        Refused(
            r"^out/train/annotations\.csv: labels helmet are no classes of the model, which are cat; add them to "
            "model.phrases or correct the labels"
        ),
        FIT,
    ),
    Case(
        "X26",
        "labels that differ in white space",
        _items(("\n cat ", CAT[1])),
        Handled("skipped    nothing", also=_all_labels_are("cat")),
    ),
    Case(
        "X26",
        "labels that differ in case",
        _items(("Cat", CAT[1])),
        Handled("warning    classes that differ only in case: Cat, cat"),
    ),
    *(
        Case(
            code,
            f"the label {label!r}",
            _items((label, CAT[1])),
            Handled("skipped    nothing", also=_all_labels_are(kept)),
        )
        for code, label, kept in (
            ("X27", "St. Bernard", "St. Bernard"),
            ("X27", "is it a cat?", "is it a cat?"),
            ("X28", "mask, worn", "mask, worn"),
            ("X28", "two\nlines", "two lines"),
            ("X28", 'say "mask"', 'say "mask"'),
            ("X29", "máscara 口罩", "máscara 口罩"),
        )
    ),
    Case(
        "X27",
        "a class with a full stop and one with a question mark, trained",
        _prepared_cats,
        Handled("run folder: runs/run", pictures=6, boxes=6),
        (*FIT, '--model.phrases={cat: no. 1 cat, other: "is it a cat?"}'),
    ),
    Case(
        "X29",
        "a wording of which the tokenizer knows nothing",
        _prepared_cats,
        Refused("^prompt: no word of '🜲🜳' is known to the tokenizer; word it in words and letters that it knows"),
        (*FIT, "--model.phrases={cat: 🜲🜳}"),
    ),
    _bad_object(
        "X30",
        "no <bndbox>",
        _two_objects("<bndbox>", "<polygon>").replace(b"bndbox></object>\n</ann", b"polygon></object>\n</ann"),
        r":6: object 2 \(dog\): <bndbox> is missing",
    ),
    _bad_object("X30", "no <ymin>", _two_objects("<ymin>6</ymin>", ""), r":7: object 2 \(dog\): <ymin> is missing"),
    _bad_object(
        "X30", "two <ymin>", _two_objects("<ymin>6</ymin>", "<ymin>6</ymin><ymin>6</ymin>"), ":7: <ymin> appears twice"
    ),
    Case(
        "X31", "coordinates with a decimal point", _items(("cat", (1.5, 2, "10.25", 25))), Handled("skipped    nothing")
    ),
    *(
        _bad_object(
            code,
            f"<xmax> is {value!r}",
            _two_objects("<xmax>7", f"<xmax>{value}"),
            rf":7: object 2 \(dog\): <xmax> is {message}",
        )
        for code, value, message in (
            ("X31", "7,5", "'7,5', expected a number with a decimal point, not a comma"),
            ("X31", "ten", "'ten', expected a number"),
            ("X31", "", "empty, expected a number"),
            ("X32", "nan", "'nan', expected a number"),
            ("X32", "inf", "'inf', expected a number"),
            ("X32", "1e400", "'1e400', expected a finite number"),
            ("X32", "0x10", "'0x10', expected a number"),
            ("X32", "1_0", "'1_0', expected a number"),
            ("X32", "٣", "'٣', expected a number"),
        )
    ),
    Case(
        "X33",
        "a box that leaves the picture by 1 px",
        _items(("cat", (1, 2, 41, 25))),
        Handled("clipped    1 box in 1 picture, out by at most 1 px"),
    ),
    Case(
        "X33",
        "boxes that leave the picture by more",
        _items(("cat", (-7.5, 2, 41, 25)), ("cat", (1, 2, 3, 99))),
        Handled("clipped    2 boxes in 1 picture, out by at most 69 px", boxes=6),
    ),
    _bad_box(
        "X33",
        "a box outside the picture",
        [("dog", (50, 2, 60, 9))],
        r":6: object 2 \(dog\): box \(50, 2\) to \(60, 9\) lies outside the picture of 40x30 px",
    ),
    _bad_box(
        "X34",
        "a box that ends before it starts",
        [("dog", (20, 2, 10, 9))],
        r":6: object 2 \(dog\): box \(20, 2\) to \(10, 9\) ends before it starts; are the corners swapped\?",
    ),
    _bad_box(
        "X34",
        "a box without area",
        [("dog", (5, 2, 5, 9))],
        r":6: object 2 \(dog\): box \(5, 2\) to \(5, 9\) has no area",
    ),
    _bad_box(
        "X34",
        "a box of less than one px",
        [("dog", (5, 2, 5.5, 3.5))],
        r":6: object 2 \(dog\): box \(5, 2\) to \(5\.5, 3\.5\) covers less than one px of the picture",
    ),
    Case("X34", "a box twice", _items(CAT, CAT), Handled("repeated   1 box annotated twice, kept once")),
    Case(
        "X34",
        "one box with two labels",
        _items(("cat", (5, 6, 7, 8)), ("dog", (5, 6, 7, 8)), CAT),
        Refused(
            FILE + r":6: object 2 \(dog\): the same box has the labels cat, dog; keep one",
            "2 x one box with several labels",
            pictures=6,
            boxes=5,
        ),
    ),
    Case(
        "X34",
        "no usable box left: the picture is no negative",
        _items(("cat", (5, 2, 5, 9))),
        Refused(
            FILE + ": no usable box is left, and the picture is no negative",
            "1 x box without area in the picture, 1 x no usable box left",
        ),
    ),
    Case(
        "X34",
        "a part with a box inside an object",
        _xml(GOOD.replace(b"</object>", b"<part><name>ear</name><bndbox><xmin>9</xmin></bndbox></part></object>")),
        Handled("skipped    nothing", also=_all_labels_are("cat")),
    ),
    Case(
        "X34",
        "an object marked as difficult",
        _xml(GOOD.replace(b"</object>", b"<difficult>1</difficult></object>")),
        Handled("skipped    nothing", also=_all_labels_are("cat")),
    ),
]
