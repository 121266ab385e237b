"""Parquet and Arrow files of the Hugging Face hub: each row has a picture, with its bytes, and its objects.

`datasets` writes them when a dataset is saved or pushed; pyarrow alone reads them here, no code of a dataset is run.
Files of a folder are mapped into memory, not loaded.
"""

import hashlib
import json
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gdino_lightning.data.annotation import Annotation, Problem
from gdino_lightning.data.fields import IMAGE_SUFFIXES, parse_file_name
from gdino_lightning.data.formats.hub_objects import OBJECTS, objects_of
from gdino_lightning.data.images import suffix_of
from gdino_lightning.data.source import Claims, Sizes, Source, named_apart, parent_of, split_in, stem_of
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError, reason_of

_PICTURE = ("image", "img")
_GROUPS_KEPT = 4  # row groups of Parquet files in memory; a group is some hundred pictures


class ParquetSource(Source):
    """A dataset of Parquet or Arrow files; those named after a split tell the splits."""

    format = "parquet"
    layout = "Hugging Face datasets (Parquet or Arrow files with the columns image and objects)"

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self._tables = {path: _Rows(path, file, tree) for path, file in _files(tree).items()}
        rows: dict[str, SourceFile] = {}
        taken: set[str] = set()
        self._places: dict[str, tuple[str, int]] = {}
        for path, table in self._tables.items():
            for row, name in enumerate(table.names()):
                own = f"{stem_of(path)}/{name}"
                own = own if own.casefold() not in taken else f"{stem_of(path)}/{row}_{name}"
                taken.add(own.casefold())
                rows[own] = SourceFile(name, f"{table.file.where}: row {row + 1}", f"{path}\0{row}")
                self._places[own] = path, row
        if not rows:
            raise DatasetError(f"{tree.path}: no row in its tables")
        self._names = named_apart(rows, tree.path.name)
        self.pictures = tuple(self._names.values())
        self.annotations = tuple(table.file for table in self._tables.values())
        splits = {own: split_in(path) for own, (path, _) in self._places.items()}
        self.split_of = {self._names[own].name: split for own, split in splits.items() if split}

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether there are such files with the columns of object detection."""
        return bool(_files(tree))

    def read(self, file: SourceFile) -> bytes:
        """Return the bytes of a picture."""
        path, row = file.key.split("\0")
        return self._tables[path].picture(int(row), file.where)

    def annotate(self, sizes: Sizes, problems: list[Problem]) -> Claims:
        """Read the objects of every row."""
        claims: Claims = {}
        own_of = {place: own for own, place in self._places.items()}
        for path, table in self._tables.items():
            digest = hashlib.sha256()
            for row, values in enumerate(table.values()):
                digest.update(repr(values).encode())
                picture = self._names[own_of[path, row]]
                try:
                    objects, left_out = objects_of(values, table.classes)
                except ValueError as error:
                    problems.append(Problem("annotation", "unreadable annotation", f"{picture.where}: {error}"))
                    claims[picture.name] = [Annotation(picture, readable=False)]
                    continue
                problems += [Problem("box", "unreadable object", f"{picture.where}: {text}") for text in left_out]
                claims[picture.name] = [Annotation(picture, objects, incomplete=bool(left_out))]
            self._digests[table.file.key] = digest.hexdigest()
        return claims


class _Rows:
    """The rows of one file.

    Args:
        path: Where it lies in the tree.
        file: The file.
        tree: The tree.
    """

    def __init__(self, path: str, file: SourceFile, tree: Tree) -> None:
        self.file = file
        self._stem = split_in(path) or stem_of(path)
        self._groups = _open(file, tree)
        schema = self._groups.schema
        self._picture = next(name for name in _PICTURE if name in schema.names)
        self._objects = next(name for name in OBJECTS if name in schema.names)
        self.classes = _class_names(schema)

    def names(self) -> Iterator[str]:
        """A name for each picture: that of its file, where the row knows it."""
        suffix = None
        with _damage_told(self.file.where):
            paths = self._groups.column(f"{self._picture}.path")
        for row, path in enumerate(paths):
            try:
                name = parse_file_name(PurePosixPath(str(path or "").replace("\\", "/")).name)
                if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
                    raise ValueError
            except ValueError:  # none, or no usable one
                suffix = suffix or suffix_of(self.picture(row, self.file.where), self.file.where)
                name = f"{self._stem}-{row:07d}{suffix}"
            yield name

    def values(self) -> list[Mapping[str, object]]:
        """The objects of each row."""
        with _damage_told(self.file.where):
            column = self._groups.column(self._objects)
        return [{self._objects: objects} for objects in column]

    def picture(self, row: int, where: str) -> bytes:
        """The bytes of a row's picture."""
        with _damage_told(where):
            data = self._groups.cell(f"{self._picture}.bytes", row)
        if not isinstance(data, bytes):
            raise DatasetError(f"{where}: has no bytes of a picture; save the dataset with its pictures embedded")
        return data


class _ArrowGroups:
    """A file of Arrow's own format; its cells are where they are in the file."""

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._table = table

    def column(self, name: str) -> list[Any]:
        """All values of a column, or of a field of one: `image.path`."""
        outer, *inner = name.split(".")
        values: list[Any] = (self._field(outer, *inner) if inner else self._table.column(outer)).to_pylist()
        return values

    def cell(self, name: str, row: int) -> object:
        """One value of a field."""
        value: object = self._field(*name.split("."))[row].as_py()
        return value

    def _field(self, outer: str, inner: str) -> pa.ChunkedArray:
        column = self._table.column(outer)
        return pa.chunked_array([chunk.field(inner) for chunk in column.chunks], column.type.field(inner).type)


class _ParquetGroups:
    """A file of Parquet, which is unpacked group by group."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.schema = file.schema_arrow
        self._file = file
        self._lock = threading.Lock()
        sizes = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
        self._starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self._group = lru_cache(_GROUPS_KEPT)(self._read_group)

    def column(self, name: str) -> list[Any]:
        """All values of a column, or of a field of one: `image.path`."""
        return _ArrowGroups(self._file.read(columns=[name])).column(name)

    def cell(self, name: str, row: int) -> object:
        """One value of a field."""
        with self._lock:
            index = bisect_right(self._starts, row) - 1
            return self._group(name, index).cell(name, row - self._starts[index])

    def _read_group(self, name: str, index: int) -> _ArrowGroups:
        return _ArrowGroups(self._file.read_row_group(index, columns=[name]))


def _files(tree: Tree) -> dict[str, SourceFile]:
    return {
        path: file
        for path, file in tree.with_suffix(".parquet", ".arrow").items()
        if parent_of(path).count("/") < 2 and _has_columns(_open(file, tree).schema)
    }


def _has_columns(schema: pa.Schema) -> bool:
    pictures = [name for name in _PICTURE if name in schema.names]
    objects = [name for name in OBJECTS if name in schema.names]
    return bool(pictures and objects) and pa.types.is_struct(schema.field(pictures[0]).type)


def _open(file: SourceFile, tree: Tree) -> _ArrowGroups | _ParquetGroups:
    with _damage_told(file.where):
        source = pa.memory_map(file.key) if tree.path.is_dir() else pa.BufferReader(tree.read(file))
        if file.suffix == ".parquet":
            return _ParquetGroups(pq.ParquetFile(source))
        try:
            table = pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)  # damaged offsets would be followed
        return _ArrowGroups(table)


@contextmanager
def _damage_told(where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{where}: damaged ({reason_of(error)}); download it again") from error


def _class_names(schema: pa.Schema) -> Sequence[str]:
    """The class names that the features name, as `datasets` describes them in the file."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
    except (KeyError, ValueError):
        return ()
    waiting = [described]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict) and value.get("_type") == "ClassLabel" and isinstance(value.get("names"), list):
            return [str(name) for name in value["names"]]
        waiting += list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ()
