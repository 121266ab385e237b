"""Catalogue C: the CSV tables of a prepared folder, read by `inspect` and `fit`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from prepared_factory import write_split

from gdino_lightning.cli import inspect_verb
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.table import read_table
from tests.bad_inputs.case import FIT, INSPECT, Case, Handled, Refused

CAT = ("cat", (1, 2, 20, 25))
HEADER = ",".join(COLUMNS)
LINE = "cat,1,2,20,25,a.png,40,30"
TABLE = Path("out/train/annotations.csv")


_Told = partial(Handled, pictures=4)


def _without_page() -> AbstractContextManager[object]:
    """Plots and samples of the page have tests of their own; here they would take nearly all of the time."""
    return patch.object(inspect_verb, "write_page", return_value="page")


def _table(content: str | bytes) -> Callable[[], None]:
    """A prepared folder of four pictures whose training table is this; test has one box, train a negative `b.png`."""

    def write() -> None:
        write_split(Path("out/train"), {"a.png": [CAT], "b.png": [], "0001.png": []})
        write_split(Path("out/test"), {"c.png": [CAT]})
        TABLE.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def _rows(*lines: str) -> str:
    return "\n".join([HEADER, LINE, *lines]) + "\n"


def _all_wrong() -> None:
    lines = (
        "cat,1,2,nan,4,a.png,40,30",
        "cat,1,2,3,4,b.png,40,30",
        "cat,9,2,3,4,a.png,40,30",
        "cat,1,2,3,4,/a.png,40,30",
    )
    _table(_rows(*lines))()
    Path("out/train/images/b.png").write_bytes(b"no picture")
    good = '{"image_name": "a.png", "caption": "a cat", "phrases": [{"spans": [[2, 5]], "boxes": []}]}'
    captions = (good, "no caption", good, good.replace('"spans": [[2, 5]], ', ""))
    Path("out/train/captions.jsonl").write_text("\n".join(captions))
    table = Path("out/test/annotations.csv")
    table.write_text(table.read_text().replace("40,30", "40,31"))


def _refused(code: str, says: str, content: str | bytes, message: str, command: tuple[str, ...] = INSPECT) -> Case:
    return Case(code, says, _table(content), Refused(rf"^out/train/annotations\.csv{message}"), command)


def _read(code: str, says: str, content: str | bytes, rows: int = 1, also: Callable[[], None] = lambda: None) -> Case:
    """A table that is read as it is meant; `rows` of it are boxes, repeated ones among them."""
    return Case(
        code, says, _table(content), _Told("^out: 4 pictures", boxes=1 + rows, also=also), INSPECT, _without_page
    )


def _first_is(label: str, name: str = "a.png") -> Callable[[], None]:
    """Checks label and picture of the first row."""

    def check() -> None:
        first = read_table(TABLE)[0]
        assert (first.label_name, first.image_name) == (label, name)

    return check


CASES = [
    _refused(
        "C01",
        "a missing column",
        _rows().replace(",bbox_y2", "").replace(",25", ""),
        ":1: column bbox_y2 is missing; the first line",
    ),
    _read(
        "C02",
        "a further column, and another order",
        f"note,{','.join(reversed(COLUMNS))}\nx,30,40,a.png,25,20,2,1,cat\n",
    ),
    _refused("C03", "a column twice", f"{HEADER},bbox_x1\n{LINE},1\n", ":1: column bbox_x1 appears twice; remove one"),
    _refused("C04", "no header", f"{LINE}\n", ":1: no header; the first line must be label_name,bbox_x1"),
    *(
        _refused(
            "C05",
            f"{mark!r} between the fields",
            _rows().replace(",", mark),
            rf":1: looks like {called} .*; use commas",
        )
        for mark, called in ((";", "semicolons"), ("\t", "tabs"))
    ),
    _refused("C06", "an empty file", "", ": empty file; run `gdino prepare` again or restore the file"),
    _refused("C04", "a blank first line", f"\r{HEADER}\n{LINE}\n", ":1: is blank; the first line must be label_name,"),
    _refused(
        "C06", "a NUL character", _rows("cat\0,1,2,3,4,a.png,40,30"), ":3: holds a NUL character, so it is no text"
    ),
    _refused(
        "C06", "a header alone", f"{HEADER}\n", ": no row below the header, so no box to learn from; run `gdino prep"
    ),
    _read("C07", "a byte order mark", "\ufeff" + _rows(), also=_first_is("cat")),
    _refused("C08", "UTF-16", _rows().encode("utf-16"), ":1: is UTF-16; save the table as UTF-8"),
    _refused(
        "C08", "Latin-1", _rows("müll,1,2,3,4,a.png,40,30").encode("latin-1"), ":3: is not UTF-8; save the table as"
    ),
    _read("C09", "CRLF", _rows().replace("\n", "\r\n")),
    _read("C09", "no final newline", _rows().rstrip()),
    *(
        _read("C10", f"a class named {label}", _rows().replace("cat", label), also=_first_is(label))
        for label in ("NA", "None", "null")
    ),
    _read("C11", "a class named 01", _rows().replace("cat", "01"), also=_first_is("01")),
    _read("C11", "a picture named 0001.png", _rows().replace("a.png", "0001.png"), also=_first_is("cat", "0001.png")),
    _refused(
        "C12", "one field too many in the first row", f"{HEADER}\n{LINE},7\n", ":2: 9 fields, the header has 8; put"
    ),
    _refused(
        "C13", "a comma in a label without quotes", _rows("with, mask,1,2,3,4,a.png,40,30"), ":3: 9 fields, the header"
    ),
    _refused("C14", "a short row", _rows("cat,1,2,3"), ":3: bbox_y2 is empty, expected a number"),
    _refused(
        "C15", "a quote that is not closed", _rows('"cat,1,2,3,4,a.png,40,30'), ":3: a quote is opened and never closed"
    ),
    *(
        _refused(
            "C16", f"a coordinate of {value}", _rows(f'cat,1,2,"{value}",4,a.png,40,30'), f":3: bbox_x2 is {message}"
        )
        for value, message in (
            ("nan", "'nan', expected a number"),
            ("1,000", "'1,000', expected a number with a decimal point, not a comma"),
            ("1e400", "'1e400', expected a finite number"),
        )
    ),
    _refused("C16", "an empty label", _rows(" ,1,2,3,4,a.png,40,30"), ":3: label_name is empty, expected a class name"),
    _refused(
        "C16", "a width of half a pixel", _rows("cat,1,2,3,4,a.png,40.5,30"), ":3: image_width is '40.5', expected"
    ),
    *(
        _refused("C16", says, _rows(f"cat,{box},a.png,40,30"), f":3: box .* {message}", FIT)
        for says, box, message in (
            ("a box that ends before it starts", "9,2,3,4", r"ends before it starts; are the corners swapped\?"),
            ("a box without area", "3,2,3,4", "has no area"),
            ("a box of less than one px", "3,2,3.5,3", "covers less than one px of the picture"),
            ("a box outside its picture", "50,2,60,4", "lies outside the picture of 40x30 px"),
        )
    ),
    Case(
        "C16",
        "boxes that cannot be used, inspected",
        _table(_rows("cat,9,2,3,4,a.png,40,30")),
        _Told(
            r"warning    1 box that cannot be used and will stop training\n"
            r" {11}train/annotations\.csv:3 \(a\.png, cat\)",
            boxes=3,
        ),
        INSPECT,
        _without_page,
    ),
    Case(
        "C16",
        "a box with decimal places that leaves its picture",
        _table(_rows("cat,-1.5,2,41,4,a.png,40,30")),
        _Told(
            r"warning    1 box leaving the picture \(clipped when loaded\)\n"
            r"           train/annotations\.csv:3 \(a\.png, cat\): by 1\.5 px",
            boxes=3,
        ),
        INSPECT,
        _without_page,
    ),
    Case(
        "C16",
        "seven things wrong in table, pictures, captions and the other split",
        _all_wrong,
        Refused(
            "^out: 7 problems\n"
            r"  out/train/annotations\.csv:3: bbox_x2 is 'nan', expected a number\n"
            r"  out/train/annotations\.csv:6: image_name is .+, expected a bare file name.*\n"
            r"  out/train/images/b\.png: .+\n"
            r"  out/train/annotations\.csv:5: box .* ends before it starts; are the corners swapped\?\n"
            r"  out/train/captions\.jsonl:2: is no JSON at column 1 .+\n"
            r"  out/train/captions\.jsonl:4: phrase 1: key spans is missing; .+\n"
            r"  out/test/annotations\.csv:2: size 40x31 px, but .+ has 40x30; .+\n$"
        ),
        FIT,
    ),
    _refused(
        "C17",
        "another size than the picture's",
        _rows("cat,1,2,3,4,a.png,30,40"),
        r":3: size 30x40 px, but out/train/images/a\.png has 40x30; run `gdino prepare` again",
        FIT,
    ),
    Case(
        "C17",
        "another size than the picture's, inspected",
        _table(_rows("cat,1,2,3,4,a.png,30,40")),
        _Told(
            r"warning    1 box with another picture size than the file has; run `gdino prepare` again\n +train", boxes=3
        ),
        INSPECT,
        _without_page,
    ),
    Case(
        "C18",
        "a picture without a row is a negative",
        _table(_rows()),
        _Told(r"  without a box +2 +0 +2$", boxes=2),
        INSPECT,
        _without_page,
    ),
    *(
        _refused(
            "C18",
            f"the picture {name}",
            _rows(f"cat,1,2,3,4,{name},40,30"),
            ":3: image_name is .+, expected a bare file",
        )
        for name in ("../a.png", "/etc/a.png", "test/c.png")
    ),
    Case(
        "C18",
        "a row twice counts once",
        _table(_rows(LINE)),
        _Told(r"^boxes +1 +1 +2$", boxes=3),
        INSPECT,
        _without_page,
    ),
]
