"""Every picture and row of a prepared root, taken as they are: what cannot be used is kept and told, not raised."""

import hashlib
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from gdino_lightning.data.fields import byte_order
from gdino_lightning.data.images import decode_rgb
from gdino_lightning.data.parallel import map_pictures
from gdino_lightning.data.pictures import picture_files
from gdino_lightning.data.publish import finish_preparation
from gdino_lightning.data.similarity import Thumbnail, thumbnail
from gdino_lightning.data.source import SPLITS, TEST, TRAIN
from gdino_lightning.data.table import IMAGES_FOLDER, TABLE_NAME, Row, read_table
from gdino_lightning.errors import DatasetError


@dataclass(frozen=True)
class Look:
    """One picture of a split, with what its table says of it.

    Attributes:
        split: `train` or `test`.
        path: File of the picture, which may be missing.
        rows: Its boxes as annotated, in the order of the table.
        sha256: Digest of the file's bytes, empty where they cannot be read.
        size: Width and height in px as decoded, None where it cannot be decoded.
        small: Thumbnail, None where it cannot be decoded.
        problem: Why it cannot be read or decoded, empty where all is well.
    """

    split: str
    path: Path
    rows: tuple[Row, ...]
    sha256: str = ""
    size: tuple[int, int] | None = None
    small: Thumbnail | None = None
    problem: str = ""

    @property
    def place(self) -> str:
        """The picture's file below the root."""
        return f"{self.split}/{IMAGES_FOLDER}/{self.path.name}"

    @property
    def labels(self) -> list[str]:
        """Class name of each box."""
        return [row.label_name for row in self.rows]

    def place_of(self, row: Row) -> str:
        """The line of the table, and the picture it is for."""
        return f"{self.split}/{TABLE_NAME}:{row.line} ({row.image_name}, {row.label_name})"


def look_at(root: Path, *, progress: bool = True) -> list[Look]:
    """Read and decode every picture of a prepared root, also those that only a table knows.

    Args:
        root: Folder with `train/` and `test/`, or one of them, each with `annotations.csv` and `images/`.
        progress: Show a progress bar on a terminal.

    Returns:
        The pictures, by split and the bytes of their names.

    Raises:
        DatasetError: There is no table, or a table or a folder of pictures cannot be read.
    """
    finish_preparation(root)
    splits = [split for split in SPLITS if (root / split / TABLE_NAME).is_file()]
    if not splits:
        raise DatasetError(
            f"{root}: has neither {TRAIN}/{TABLE_NAME} nor {TEST}/{TABLE_NAME}; give a folder that `gdino prepare` made"
        )
    unseen = [item for split in splits for item in _list(root / split)]
    return map_pictures(_look, unseen, "looking at pictures", progress=progress)


def _list(folder: Path) -> list[Look]:
    """The pictures of a split's folder and table with their rows, not opened yet."""
    rows = sorted(read_table(folder / TABLE_NAME), key=lambda row: byte_order(row.image_name))
    by_name = {name: tuple(group) for name, group in groupby(rows, key=lambda row: row.image_name)}
    names = sorted(by_name.keys() | picture_files(folder), key=byte_order)
    return [Look(folder.name, folder / IMAGES_FOLDER / name, by_name.get(name, ())) for name in names]


def _look(listed: Look) -> Look:
    try:
        data = listed.path.read_bytes()
    except OSError as error:
        return replace(listed, problem=f"{listed.place}: cannot be read ({error.strerror or error})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        rgb = decode_rgb(data, listed.place)
    except DatasetError as error:
        return replace(listed, sha256=digest, problem=str(error))
    return replace(listed, sha256=digest, size=(rgb.shape[1], rgb.shape[0]), small=thumbnail(rgb))
