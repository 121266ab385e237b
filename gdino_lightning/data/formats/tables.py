"""CSV tables with a row for each box: this project's own, and those that Roboflow and many others write.

A table names pictures of the source; pictures in its folder, or in `images/` beside it, that have no row are negatives.
What `gdino prepare` made is read again with its splits and captions.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gdino_lightning.data.annotation import AnnotatedCaption, AnnotatedObject, Annotation
from gdino_lightning.data.caption_lines import read_caption
from gdino_lightning.data.fields import IMAGE_SUFFIXES, parse_label, parse_number, parse_side
from gdino_lightning.data.formats.listed import ListedSource
from gdino_lightning.data.source import parent_of
from gdino_lightning.data.table import CAPTIONS_NAME, IMAGES_FOLDER, read_records
from gdino_lightning.data.tree import SourceFile, Tree

T = TypeVar("T")

# what the columns are called elsewhere: by Roboflow, TensorFlow's converter, torchvision's tutorials
_CALLED = {
    "label_name": ("label_name", "class", "label", "category", "class_name"),
    "bbox_x1": ("bbox_x1", "xmin", "x_min", "x1"),
    "bbox_y1": ("bbox_y1", "ymin", "y_min", "y1"),
    "bbox_x2": ("bbox_x2", "xmax", "x_max", "x2"),
    "bbox_y2": ("bbox_y2", "ymax", "y_max", "y2"),
    "image_name": ("image_name", "filename", "file_name", "image", "image_path", "path"),
    "image_width": ("image_width", "width"),
    "image_height": ("image_height", "height"),
}
_SIDES = ("image_width", "image_height")
_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_HEAD = 4_096  # bytes that hold the first line of a table


@dataclass
class _Found:
    """What a table and its captions say of one picture."""

    objects: list[AnnotatedObject] = field(default_factory=list)
    captions: list[AnnotatedCaption] = field(default_factory=list)
    sizes: dict[tuple[int, int], None] = field(default_factory=dict)
    incomplete: bool = False
    line: int = 0


class TableSource(ListedSource):
    """A dataset of CSV tables; those in a folder named after a split tell the splits."""

    format = "csv"
    layout = "CSV (a row for each box: label_name, bbox_x1, bbox_y1, bbox_x2, bbox_y2, image_name; or Roboflow's)"

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether the first line of a CSV file names the columns."""
        return bool(TableSource._files(tree))

    @staticmethod
    def _files(tree: Tree) -> dict[str, SourceFile]:
        return {
            path: file
            for path, file in tree.with_suffix(".csv").items()
            if parent_of(path).count("/") < 2 and _names_the_columns(tree.read(file)[:_HEAD])
        }

    def _read_file(self, path: str, file: SourceFile) -> None:
        (_, header), *records = read_records(self._read_annotation(file), file.where)
        places = _places(header)
        found: dict[str, _Found] = defaultdict(_Found)
        for line, record in records:
            self._read_row(file, line, {name: record[place] for name, place in places.items()}, found)
        self._read_captions(path, found)
        for named, about in found.items():
            size = next(iter(about.sizes), None)
            if len(about.sizes) > 1:
                told = " and ".join(f"{width}x{height}" for width, height in about.sizes)
                self._refuse("picture", "size differs from annotation", f"{file.where}: {named} is {told} px; keep one")
            objects = tuple(about.objects)
            captions = tuple(about.captions)
            annotation = Annotation(
                file, objects, about.line, size=size, captions=captions, incomplete=about.incomplete
            )
            self._claim(named, path, annotation)
        for picture in self._beside(path) - self._found.keys():
            self._found[picture] = [Annotation(file)]

    def _read_row(self, file: SourceFile, line: int, cells: Mapping[str, str], found: dict[str, _Found]) -> None:
        named = cells["image_name"].strip()
        about = found[named]
        about.line = about.line or line
        try:
            x1, y1, x2, y2 = (_cell(cells, name, parse_number) for name in _CORNERS)
            item = AnnotatedObject(_cell(cells, "label_name", parse_label), (x1, y1, x2, y2), line, line)
            if cells.keys() >= {*_SIDES}:
                width, height = (_cell(cells, name, parse_side) for name in _SIDES)
                about.sizes.setdefault((width, height))
            about.objects.append(item)
        except ValueError as error:
            about.incomplete = True
            self._refuse("box", "unreadable object", f"{file.where}:{line}: {error}")

    def _read_captions(self, path: str, found: dict[str, _Found]) -> None:
        """Add the captions beside a table that `prepare` made."""
        file = self.tree.files.get(f"{parent_of(path)}/{CAPTIONS_NAME}".lstrip("/"))
        if file is None:
            return
        for number, line in enumerate(self._read_annotation(file).split(b"\n"), start=1):
            if line.strip():
                try:
                    named, caption = read_caption(line, f"{file.where}:{number}")
                    found[named].captions.append(caption)
                except ValueError as error:
                    self._refuse("caption", "unusable caption", f"{file.where}:{number}: {error}")

    def _beside(self, path: str) -> set[str]:
        """The pictures in the table's folder or in `images/` beside it."""
        folder = parent_of(path)
        images = f"{folder}/{IMAGES_FOLDER}".lstrip("/")
        return {path for path in self.tree.with_suffix(*IMAGE_SUFFIXES) if parent_of(path) in (folder, images)}


def _names_the_columns(head: bytes) -> bool:
    first = head.partition(b"\n")[0].decode("utf-8-sig", "replace")
    return _places([cell.strip().strip('"') for cell in first.split(",")]).keys() >= _CALLED.keys() - {*_SIDES}


def _places(header: Sequence[str]) -> dict[str, int]:
    """Column of this project -> its place in a table; the first of its names that is there."""
    names = [name.lower() for name in header]
    found = {column: next((name for name in called if name in names), None) for column, called in _CALLED.items()}
    return {column: names.index(name) for column, name in found.items() if name is not None}


def _cell(cells: Mapping[str, str], column: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(cells[column])
    except ValueError as error:
        raise ValueError(f"{column} {error}") from error
