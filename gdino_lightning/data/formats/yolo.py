"""YOLO: a text file for each picture with lines of `class cx cy width height` as fractions of the picture.

`data.yaml` names classes and the folders (or list files) of the splits, as Ultralytics and Roboflow write it; without
it `classes.txt` (or `obj.names`) names the classes, as labelling tools write it. The labels of `images/a.jpg` are in
`labels/a.txt`, or beside the picture. Polygons and rotated boxes become the upright boxes around them.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import yaml

from gdino_lightning.data.annotation import AnnotatedObject, Annotation, Problem, object_place
from gdino_lightning.data.fields import IMAGE_SUFFIXES, Box, parse_label, parse_number, shown
from gdino_lightning.data.formats.listed import PictureFinder
from gdino_lightning.data.source import Claims, Sizes, Source, named_apart, parent_of, split_in
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError, reason_of

_CLASS_FILES = ("classes.txt", "obj.names", "classes.names")
_NAMES = re.compile(rb"^names\s*:", re.MULTILINE)
_SPLIT_KEYS = {"train": "train", "test": "test", "val": "val", "valid": "val"}  # the first that names a picture has it
_TOLERANCE = 0.01  # by which a box may leave its picture, as rounding makes it
_DECIMALS = 6  # of px: what is lost by the division by the picture's sides comes back
_MOST_YAML = 1_000_000  # bytes


class _Described(NamedTuple):
    """The classes, and the pictures with their splits, as a file describes them."""

    file: SourceFile
    classes: list[str]
    splits: dict[str, str | None]


class YoloSource(Source):
    """A dataset of YOLO label files. A picture without one is a negative."""

    format = "yolo"
    layout = "YOLO (data.yaml, or classes.txt; images/ and labels/*.txt)"

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        file = _described_in(tree)[0]
        data = self._read_annotation(file)
        by = _by_yaml if file.suffix in (".yaml", ".yml") else _by_list
        self._described = by(tree, file, data)
        pictures = {path: tree.files[path] for path in self._described.splits}
        if not pictures:
            raise DatasetError(f"{file.where}: none of its pictures is there; {self.layout}")
        self._names = named_apart(pictures, tree.path.name)
        self.pictures = tuple(self._names.values())
        self.split_of = {self._names[path].name: split for path, split in self._described.splits.items() if split}
        self._labels = {path: tree.files.get(_label_path(path)) for path in pictures}
        used = tuple(label for label in self._labels.values() if label is not None)
        self.annotations = (file, *used)
        if len(used) < len(pictures):
            self.notes.append(f"{len(pictures) - len(used):,} pictures without a label file are negatives")

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether a file names classes as YOLO's do, and there are pictures."""
        return bool(_described_in(tree)) and bool(tree.with_suffix(*IMAGE_SUFFIXES))

    def annotate(self, sizes: Sizes, problems: list[Problem]) -> Claims:
        """Read the label file of every picture whose size is known."""

        def read(path: str) -> tuple[str, Annotation, list[Problem]]:
            name = self._names[path].name
            return (name, *self._read_labels(self._labels[path], sizes.get(name)))

        claims: Claims = {}
        with ThreadPoolExecutor(max_workers=8) as pool:
            for name, annotation, found in pool.map(read, self._labels):
                claims[name] = [annotation]
                problems += found
        problems += self._orphans()
        return claims

    def _read_labels(self, file: SourceFile | None, size: tuple[int, int] | None) -> tuple[Annotation, list[Problem]]:
        if file is None:
            return Annotation(self._described.file), []
        objects: list[AnnotatedObject] = []
        problems: list[Problem] = []
        try:
            lines = _lines(self._read_annotation(file), file.where)
        except DatasetError as error:
            return Annotation(file, readable=False), [Problem("annotation", "unreadable annotation", str(error))]
        for number, line in enumerate(lines, start=1):
            if line.strip() and size is not None:
                try:
                    label, box = self._object(line.split(), *size)
                    objects.append(AnnotatedObject(label, box, len(objects) + 1, number))
                except ValueError as error:
                    place = object_place(file, "object", len(objects) + len(problems) + 1, line=number)
                    problems.append(Problem("box", "unreadable object", f"{place}: {error}"))
        return Annotation(file, tuple(objects), incomplete=bool(problems)), problems

    def _object(self, cells: list[str], width: int, height: int) -> tuple[str, Box]:
        if len(cells) < 5 or len(cells) % 2 == 0:
            raise ValueError(f"{len(cells)} values, expected class cx cy width height or a class and points")
        classes = self._described.classes
        index = parse_number(cells[0])
        if not (index.is_integer() and 0 <= index < len(classes)):
            raise ValueError(f"class {shown(cells[0])}, but {self._described.file.name} names 0 to {len(classes) - 1}")
        values = [_fraction(cell) for cell in cells[1:]]
        if len(values) == 4:
            cx, cy, w, h = values
            left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        else:
            left, top, right, bottom = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
        box = (left * width, top * height, right * width, bottom * height)
        x1, y1, x2, y2 = (round(value, _DECIMALS) for value in box)
        return classes[int(index)], (x1, y1, x2, y2)

    def _orphans(self) -> list[Problem]:
        """Label files whose pictures are missing."""
        used = {_label_path(path) for path in self._labels}
        folders = {path.rpartition("/")[0] for path in used if "/" in path}
        return [
            Problem(
                "annotation",
                "annotation without its picture",
                f"{file.where}: no picture of this name; add it or remove the file",
            )
            for path, file in self.tree.with_suffix(".txt").items()
            if parent_of(path) in folders and path not in used and file.name not in _CLASS_FILES
        ]


def _described_in(tree: Tree) -> list[SourceFile]:
    """The file that names the classes: a YAML file at the top or else one of the lists; empty where none does."""
    for path, file in tree.with_suffix(".yaml", ".yml").items():
        if "/" not in path and _NAMES.search(tree.read(file)[:_MOST_YAML]):
            return [file]
    lists = [file for path, file in tree.files.items() if file.name in _CLASS_FILES and path.count("/") < 2]
    has_labels = any(file.name not in _CLASS_FILES for file in tree.with_suffix(".txt").values())
    return lists[:1] if has_labels else []


def _by_list(tree: Tree, file: SourceFile, data: bytes) -> _Described:
    classes = [line for line in _lines(data, file.where) if line.strip()]
    pictures = tree.with_suffix(*IMAGE_SUFFIXES)
    return _Described(file, _names(classes, file.where), {path: split_in(parent_of(path)) for path in pictures})


def _by_yaml(tree: Tree, file: SourceFile, data: bytes) -> _Described:
    try:
        values = yaml.safe_load(data[:_MOST_YAML])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file.where}: no YAML ({reason_of(error)}); correct the file") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{file.where}: is no list of keys; it needs names and train")
    classes = _names(values.get("names"), file.where)
    splits: dict[str, str | None] = {}
    for key, split in _SPLIT_KEYS.items():
        for entry in _entries(values.get(key), f"{file.where}: {key}"):
            found = _pictures_at(entry, values.get("path"), tree)
            if not found and key == "train":
                raise DatasetError(f"{file.where}: {key}: no picture at {shown(entry)}; correct the path")
            for picture in found:
                splits.setdefault(picture, split)
    return _Described(file, classes, splits)


def _entries(value: object, where: str) -> list[str]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DatasetError(f"{where} is {shown(str(value))}, expected a folder, a list file or several of them")
    return [str(entry) for entry in entries]


def _pictures_at(entry: str, base: object, tree: Tree) -> list[str]:
    """The pictures of a folder or list file, below the tree whatever the path says of the machine it was made on."""
    parts = [part for part in f"{base if isinstance(base, str) else ''}/{entry}".replace("\\", "/").split("/")]
    kept = [part for part in parts if part not in ("", ".", "..")]
    for start in range(len(kept)):  # the longest end of the path that is there
        place = "/".join(kept[start:])
        if place in tree.folders:
            return [path for path in tree.with_suffix(*IMAGE_SUFFIXES) if path.startswith(f"{place}/")]
        if place in tree.files:
            return _listed_in(place, tree)
    return []


def _listed_in(path: str, tree: Tree) -> list[str]:
    file = tree.files[path]
    finder = PictureFinder(tree)
    found = []
    for number, line in enumerate(_lines(tree.read(file), file.where), start=1):
        if line.strip():
            try:
                found.append(finder.find(line.strip(), parent_of(path), split_in(path)))
            except ValueError as error:
                raise DatasetError(f"{file.where}:{number}: {error}") from error
    return found


def _names(value: object, where: str) -> list[str]:
    """Class names in the order of their numbers."""
    if isinstance(value, Mapping):
        if sorted(map(str, value)) != sorted(map(str, range(len(value)))):
            raise DatasetError(f"{where}: names are not numbered from 0 on; number them 0 to {len(value) - 1}")
        value = [name for _, name in sorted(value.items(), key=lambda item: int(str(item[0])))]
    if not isinstance(value, list) or not value:
        raise DatasetError(f"{where}: names is {shown(str(value))}, expected a list of class names")
    try:
        return [parse_label(str(name)) for name in value]
    except ValueError as error:
        raise DatasetError(f"{where}: a class name {error}") from error


def _label_path(picture: str) -> str:
    """Where the labels of a picture lie: in `labels/` for `images/`, else beside it."""
    parts = picture.rpartition(".")[0].split("/")
    for place in reversed(range(len(parts) - 1)):
        if parts[place].lower() == "images":
            return "/".join([*parts[:place], "labels", *parts[place + 1 :]]) + ".txt"
    return "/".join(parts) + ".txt"


def _fraction(cell: str) -> float:
    value = parse_number(cell)
    if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
        raise ValueError(f"{shown(cell)} is no fraction of the picture; YOLO divides by its width and height")
    return value


def _lines(data: bytes, where: str) -> Iterable[str]:
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{where}:{line}: is not UTF-8; save the file as UTF-8") from error
