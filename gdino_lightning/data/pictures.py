"""The pictures of a split folder: those of its table with their boxes, and those without a row, which are negatives."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.fields import IMAGE_SUFFIXES, box_problem, byte_order, clip_box
from gdino_lightning.data.images import read_size
from gdino_lightning.data.packed import Packed, read_packed, write_packed
from gdino_lightning.data.source import SPLITS
from gdino_lightning.data.table import IMAGES_FOLDER, REMAKE, TABLE_NAME, Row, scan_table
from gdino_lightning.errors import DatasetError, Problems

_LARGE_BYTES = 1_000_000  # of a table; a smaller one, of some 15,000 boxes, is read in a second

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
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


def class_names(root: Path) -> list[str]:
    """Return the names of the classes that have a box in a prepared folder, sorted; none where it has no table.

    Raises:
        DatasetError: A split cannot be used.
    """
    folders = [root / split for split in SPLITS if (root / split / TABLE_NAME).is_file()]
    return sorted({label for folder in folders for picture in read_split(folder) for label in picture.labels})


def scan_split(folder: Path, problems: Problems) -> list[Picture]:
    """As `read_split`, but leave out what cannot be used and say so in `problems`."""
    packed = _from_packed(folder)
    return _from_table(folder, problems) if packed is None else packed


def pack_split(folder: Path, pictures: Sequence[Picture] | None = None) -> None:
    """Let a large split open fast: write what it says in Parquet behind its table, unless that was done.

    Nothing is written for a split with problems, which its reader tells, and none in a folder that cannot be written.

    Args:
        folder: Folder of the split.
        pictures: What it holds, where it is known; None reads it.
    """
    table = folder / TABLE_NAME
    if not table.is_file() or table.stat().st_size < _LARGE_BYTES or _from_packed(folder) is not None:
        return
    problems = Problems(folder)
    pictures = _from_table(folder, problems) if pictures is None else pictures
    if problems:
        return
    try:
        write_packed(folder, table, _pack(pictures))
    except OSError as error:
        logger.warning("%s: cannot be written (%s); reading this split takes longer", folder, error.strerror or error)


def _pack(pictures: Sequence[Picture]) -> Packed:
    classes = {name: index for index, name in enumerate(sorted({name for each in pictures for name in each.labels}))}
    return Packed(
        names=[each.name for each in pictures],
        num_bytes=np.array(_bytes_of(each.path for each in pictures), dtype=np.int64),
        sizes_px=np.array([(each.width, each.height) for each in pictures], dtype=np.int32),
        starts=np.cumsum([0, *(len(each.labels) for each in pictures)]),
        classes=list(classes),
        labels=np.array([classes[name] for each in pictures for name in each.labels], dtype=np.int32),
        boxes_px=np.concatenate([each.boxes_px for each in pictures]),
    )


def _bytes_of(files: Iterable[Path]) -> list[int]:
    return [file.stat().st_size for file in files]


def _from_packed(folder: Path) -> list[Picture] | None:
    """The pictures as the packed file has them; None where there is none, or table or pictures have changed since."""
    packed = read_packed(folder, folder / TABLE_NAME)
    if packed is None:
        return None
    files = list(picture_files(folder).values())
    if [path.name for path in files] != packed.names or _bytes_of(files) != packed.num_bytes.tolist():
        return None
    label_of = [packed.classes[index] for index in packed.labels]
    ranges = pairwise(packed.starts.tolist())
    return [
        Picture(path, width, height, packed.boxes_px[start:end], tuple(label_of[start:end]))
        for path, (width, height), (start, end) in zip(files, packed.sizes_px.tolist(), ranges, strict=True)
    ]


def _from_table(folder: Path, problems: Problems) -> list[Picture]:
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
            pictures[name] = picture_of(path, read_size(path), ())
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
    return picture_of(picture.path, (width, height), rows)


def picture_of(path: Path, size_px: tuple[int, int], rows: Sequence[Row]) -> Picture:
    """Return a picture with the boxes of its rows.

    Args:
        path: Its file.
        size_px: Its width and height.
        rows: Its boxes, checked; none where it is a negative.
    """
    boxes_px = np.array([clip_box(row.box_px, *size_px) for row in rows], dtype=np.float32).reshape(-1, 4)
    return Picture(path, *size_px, boxes_px, tuple(row.label_name for row in rows))


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
