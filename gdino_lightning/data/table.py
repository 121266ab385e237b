"""The CSV table of a split, `annotations.csv`: one row for each box, coordinates as annotated."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pandas as pd

from gdino_lightning.data.fields import (
    COLUMNS,
    Box,
    format_number,
    parse_file_name,
    parse_label,
    parse_number,
    parse_side,
)
from gdino_lightning.errors import DatasetError, Problems

T = TypeVar("T")

TABLE_NAME = "annotations.csv"
CAPTIONS_NAME = "captions.jsonl"
IMAGES_FOLDER = "images"

_MOST_COLUMNS = 1_000
_SHORTEST_ROW = len("a,0,0,1,1,b,1,1")
_FEW_LINES = 10_000  # may be blank
REMAKE = "run `gdino prepare` again or restore the file"


@dataclass(frozen=True, slots=True)
class Row:
    """One box of a table.

    Attributes:
        label_name: Class name.
        box_px: xyxy_px as annotated, not clipped.
        image_name: Bare name of the picture file.
        image_width: Width of the stored picture in px.
        image_height: Height of the stored picture in px.
        line: Line in the CSV it was read from, 0 where it was not read.
    """

    label_name: str
    box_px: Box
    image_name: str
    image_width: int
    image_height: int
    line: int = field(default=0, compare=False)


def write_table(rows: Iterable[Row]) -> bytes:
    """Return the CSV of `rows` in their order: UTF-8, newline line ends, whole numbers without a point."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        corners = [format_number(corner) for corner in row.box_px]
        writer.writerow([row.label_name, *corners, row.image_name, row.image_width, row.image_height])
    return text.getvalue().encode("utf-8")


def read_table(path: Path) -> list[Row]:
    """Read the rows of a table in file order, without rows that repeat an earlier one.

    Columns are found by name; further columns are not read.

    Raises:
        DatasetError: The table cannot be used; names file and line of every bad row.
    """
    problems = Problems(path)
    rows = scan_table(path, problems)
    problems.check()
    return rows


def scan_table(path: Path, problems: Problems) -> list[Row]:
    """Read the rows that can be used and say what is wrong with the others; raises where it is no table at all."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); {REMAKE}") from error
    (_, header), *records = read_records(data, str(path))
    places = _find_columns(path, header)
    rows: dict[Row, None] = {}
    if not records and not path.with_name(CAPTIONS_NAME).is_file():
        raise DatasetError(f"{path}: no row below the header, so no box to learn from; {REMAKE}")
    for line, record in records:
        with problems.collecting():
            rows.setdefault(_parse_row(path, line, {name: record[places[name]] for name in COLUMNS}))
    return list(rows)


def read_records(data: bytes, where: str) -> list[tuple[int, list[str]]]:
    """Take a CSV table apart: the line and the cells of each record, the header's first; blank lines are no records.

    Raises:
        DatasetError: It is no table in UTF-8, or far larger than its boxes.
    """
    header, *records = _read_cells(where, _decode(data, where))
    found = [(1, [cell.strip() for cell in header])]
    line = 2 + _line_breaks(header)
    for record in records:
        if any(record):
            found.append((line, record))
        line += 1 + _line_breaks(record)
    return found


def _decode(data: bytes, path: str) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"{path}:1: is UTF-16; save the table as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: is not UTF-8; save the table as UTF-8") from error
    if not text.strip():
        raise DatasetError(f"{path}: empty file; {REMAKE}")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DatasetError(f"{path}:{line}: holds a NUL character, so it is no text; {REMAKE}")
    _check_shape(path, text)
    return text


def _check_shape(path: str, text: str) -> None:
    """Refuse what is no table of boxes before it is taken apart: every cell takes time and memory, empty ones too."""
    columns, lines = text.count(",", 0, text.find("\n")) + 1, text.count("\n")
    if columns > _MOST_COLUMNS:
        raise DatasetError(f"{path}:1: {columns:,} columns; the first line must be {','.join(COLUMNS)}")
    if lines > _FEW_LINES + len(text) / _SHORTEST_ROW:
        raise DatasetError(f"{path}: {lines:,} lines in {len(text):,} characters, too short to be rows; {REMAKE}")


def _read_cells(path: str, text: str) -> list[list[str]]:
    """Split the text into records, header included, so that pandas takes no column for an index."""
    try:
        frame = pd.read_csv(io.StringIO(text), header=None, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except pd.errors.ParserError as error:
        raise DatasetError(f"{path}{_parser_problem(str(error))}") from error
    except pd.errors.EmptyDataError as error:
        raise DatasetError(f"{path}:1: is blank; the first line must be {','.join(COLUMNS)}") from error
    return [[str(cell) for cell in record] for record in frame.to_numpy().tolist()]


def _parser_problem(message: str) -> str:
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if fields:
        expected, line, seen = fields.groups()
        return f":{line}: {seen} fields, the header has {expected}; put text that holds a comma in quotes"
    quote = re.search(r"starting at row (\d+)", message)
    if quote:
        return f":{int(quote[1]) + 1}: a quote is opened and never closed"
    return f": not a CSV table ({message.strip()})"


def _find_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(f"{path}:1: {_header_problem(header, missing)}")
    repeated = [name for name in COLUMNS if header.count(name) > 1]
    if repeated:
        raise DatasetError(f"{path}:1: column {repeated[0]} appears twice; remove one")
    return {name: header.index(name) for name in COLUMNS}


def _header_problem(header: Sequence[str], missing: Sequence[str]) -> str:
    expected = ",".join(COLUMNS)
    if len(header) == 1:
        for mark, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in header[0]:
                return f"looks like {called} ({mark!r}) between the fields; use commas"
    if len(missing) == len(COLUMNS):
        return f"no header; the first line must be {expected}"
    return f"column {', '.join(missing)} is missing; the first line must name {expected}"


def _parse_row(path: Path, line: int, cells: Mapping[str, str]) -> Row:
    try:
        x1, y1, x2, y2 = (_cell(cells, name, parse_number) for name in COLUMNS[1:5])
        width, height = (_cell(cells, name, parse_side) for name in COLUMNS[6:])
        label = _cell(cells, "label_name", parse_label)
        image_name = _cell(cells, "image_name", parse_file_name)
    except ValueError as error:
        raise DatasetError(f"{path}:{line}: {error}") from error
    return Row(label, (x1, y1, x2, y2), image_name, width, height, line)


def _cell(cells: Mapping[str, str], column: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(cells[column])
    except ValueError as error:
        raise ValueError(f"{column} {error}") from error


def _line_breaks(record: Iterable[str]) -> int:
    return sum(cell.count("\n") for cell in record)
