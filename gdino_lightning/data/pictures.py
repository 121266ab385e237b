"""The pictures of a split folder: those of its table with their boxes, and those without a row, which are negatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.fields import IMAGE_SUFFIXES, box_problem, byte_order, clip_box
from gdino_lightning.data.images import read_size
from gdino_lightning.data.table import IMAGES_FOLDER, REMAKE, TABLE_NAME, Row, scan_table
from gdino_lightning.errors import DatasetError, Problems


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


def read_split(folder: Path) -> list[Picture]:
    """Load the pictures of a split folder, sorted by the bytes of their names, negatives among them.

    Boxes are clipped to their picture. No picture is decoded; sizes are compared with the headers.

    Raises:
        DatasetError: Table, pictures and boxes do not fit together; names file and line of everything bad.
    """
    problems = Problems(folder)
    pictures = scan_split(folder, problems)
    problems.check()
    return pictures


def scan_split(folder: Path, problems: Problems) -> list[Picture]:
    """As `read_split`, but leave out what cannot be used and say so in `problems`."""
    table = folder / TABLE_NAME
    rows: list[Row] = []
    with problems.collecting():
        rows = sorted(scan_table(table, problems), key=lambda row: byte_order(row.image_name))
    try:
        files = picture_files(folder)
    except DatasetError as error:
        problems.add(str(error))
        return []
    pictures: dict[str, Picture] = {}
    for name, path in files.items():
        with problems.collecting():
            pictures[name] = _negative(path)
    for name, group in groupby(rows, key=lambda row: row.image_name):
        members = list(group)
        if name in pictures:
            pictures[name] = _with_boxes(pictures[name], members, table, problems)
        elif name not in files:
            where = f"{table}:{members[0].line}"
            problems.add(f"{where}: picture {name!r} is not in {folder / IMAGES_FOLDER}; {REMAKE}")
    return list(pictures.values())


def _with_boxes(picture: Picture, rows: Sequence[Row], table: Path, problems: Problems) -> Picture:
    width, height = picture.width, picture.height
    for row in rows:
        if (row.image_width, row.image_height) != (width, height):
            told = f"{table}:{row.line}: size {row.image_width}x{row.image_height} px"
            problems.add(f"{told}, but {picture.path} has {width}x{height}; {REMAKE}")
        elif problem := box_problem(row.box_px, width, height):
            problems.add(f"{table}:{row.line}: {problem}")
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
        raise DatasetError(f"{images}: cannot be read ({error.strerror or error}); {REMAKE}") from error
    return {
        name: images / name
        for name in names
        if not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    }
