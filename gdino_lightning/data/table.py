"""The CSV table of a split: one row for each box, coordinates as annotated, clipped when loaded.

A split folder holds `annotations.csv` and `images/`. Pictures without a row are negatives: pictures on which
nothing is to be found.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from gdino_lightning.data.fields import (
    COLUMNS,
    IMAGE_SUFFIXES,
    Box,
    box_problem,
    byte_order,
    clip_box,
    format_number,
    parse_file_name,
    parse_label,
    parse_number,
    parse_side,
)
from gdino_lightning.data.images import read_size
from gdino_lightning.errors import DatasetError

T = TypeVar("T")

TABLE_NAME = "annotations.csv"
CAPTIONS_NAME = "captions.jsonl"
IMAGES_FOLDER = "images"

_REMAKE = "run `gdino prepare` again or restore the file"


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Picture:
    """One picture of a split and its annotated boxes.

    Attributes:
        path: File of the picture.
        width: Width of the stored picture in px.
        height: Height of the stored picture in px.
        boxes_px: (N, 4) float32 xyxy_px, clipped to the picture.
        labels: N class names.
    """

    path: Path
    width: int
    height: int
    boxes_px: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """File name of the picture, its key in the split."""
        return self.path.name


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
        DatasetError: The table cannot be used; names file and line.
    """
    text = _read_text(path)
    cells = _read_cells(path, text)
    header = [str(cell).strip() for cell in cells[0]]
    places = _find_columns(path, header)
    rows: dict[Row, None] = {}
    line = 2 + _line_breaks(cells[0])
    for record in cells[1:]:
        if any(record):  # a blank line is no row
            rows.setdefault(_parse_row(path, line, {name: record[places[name]] for name in COLUMNS}))
        line += 1 + _line_breaks(record)
    if not rows:
        raise DatasetError(f"{path}: no row below the header, so no box to learn from; {_REMAKE}")
    return list(rows)


def read_split(folder: Path) -> list[Picture]:
    """Load the pictures of a split folder, sorted by the bytes of their names, negatives among them.

    Boxes are clipped to their picture. No picture is decoded; sizes are compared with the headers.

    Raises:
        DatasetError: Table, pictures and boxes do not fit together; names file and line.
    """
    table = folder / TABLE_NAME
    rows = sorted(read_table(table), key=lambda row: byte_order(row.image_name))
    files = picture_files(folder)
    pictures = {name: _negative(path) for name, path in files.items()}
    for name, group in groupby(rows, key=lambda row: row.image_name):
        members = list(group)
        if name not in pictures:
            where = f"{table}:{members[0].line}"
            raise DatasetError(f"{where}: picture {name!r} is not in {folder / IMAGES_FOLDER}; {_REMAKE}")
        pictures[name] = _with_boxes(pictures[name], members, table)
    return list(pictures.values())


def _with_boxes(picture: Picture, rows: Sequence[Row], table: Path) -> Picture:
    width, height = picture.width, picture.height
    for row in rows:
        if (row.image_width, row.image_height) != (width, height):
            raise DatasetError(
                f"{table}:{row.line}: size {row.image_width}x{row.image_height} px, but {picture.path} has "
                f"{width}x{height}; {_REMAKE}"
            )
        problem = box_problem(row.box_px, width, height)
        if problem:
            raise DatasetError(f"{table}:{row.line}: {problem}")
    boxes_px = np.array([clip_box(row.box_px, width, height) for row in rows], dtype=np.float32)
    return Picture(picture.path, width, height, boxes_px, tuple(row.label_name for row in rows))


def _negative(path: Path) -> Picture:
    width, height = read_size(path)
    return Picture(path, width, height, np.zeros((0, 4), dtype=np.float32), ())


def picture_files(folder: Path) -> dict[str, Path]:
    """Return name -> file of all pictures of a split's folder, in the order of their bytes.

    Raises:
        DatasetError: The folder cannot be read.
    """
    images = folder / IMAGES_FOLDER
    try:
        names = sorted((path.name for path in images.iterdir()), key=byte_order)
    except OSError as error:
        raise DatasetError(f"{images}: cannot be read ({error.strerror or error}); {_REMAKE}") from error
    return {
        name: images / name
        for name in names
        if not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    }


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); {_REMAKE}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"{path}:1: is UTF-16; save the table as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: is not UTF-8; save the table as UTF-8") from error
    if not text.strip():
        raise DatasetError(f"{path}: empty file; {_REMAKE}")
    return text


def _read_cells(path: Path, text: str) -> list[list[str]]:
    """Split the text into records, header included, so that pandas takes no column for an index."""
    try:
        frame = pd.read_csv(io.StringIO(text), header=None, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except pd.errors.ParserError as error:
        raise DatasetError(f"{path}{_parser_problem(str(error))}") from error
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
