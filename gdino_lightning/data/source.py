"""A dataset in one of the accepted formats: its pictures, and what is annotated on them.

`gdino_lightning.data.recognise` opens one; `gdino_lightning.data.formats` has a class for each format.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from gdino_lightning.data.annotation import Annotation, Problem
from gdino_lightning.data.fields import MAX_NAME, byte_order
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError

Sizes = Mapping[str, tuple[int, int]]
"""Name of a readable picture -> its (width, height) px."""

Claims = dict[str, list[Annotation]]
"""Name of a picture -> what is said of it; more than once is a problem."""

SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
_SPLIT = re.compile(
    r"(?:^|[^a-z])(?:(trainval|train|training)|(val|valid|validation|dev)|(test|testing))(?:[0-9]*)(?=$|[^a-z0-9])"
)


class Source(ABC):
    """Pictures of a dataset, sorted by the bytes of their names, and a way to their annotations.

    Subclasses set the attributes and read their format.

    Attributes:
        format: Name of the format, as `--format` takes it.
        layout: Which files it is made of, for messages.
        tree: The files.
        pictures: Files of pictures; their names are unique.
        annotations: The files that annotations are read from.
        ignored: Paths of files in the format's folders that are neither.
        split_of: Name of a picture -> `train`, `val` or `test`; empty where the source has no splits.
        notes: What a user should know of how it was read.
    """

    format: ClassVar[str]
    layout: ClassVar[str]

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.pictures: tuple[SourceFile, ...] = ()
        self.annotations: tuple[SourceFile, ...] = ()
        self.ignored: tuple[str, ...] = ()
        self.split_of: dict[str, str] = {}
        self.notes: list[str] = []
        self._digests: dict[str, str] = {}

    @staticmethod
    @abstractmethod
    def recognise(tree: Tree) -> bool:
        """Whether the top of a tree looks like this format, by the names of files and the beginnings of a few."""

    @abstractmethod
    def annotate(self, sizes: Sizes, problems: list[Problem]) -> Claims:
        """Read all annotations.

        Args:
            sizes: Of the pictures that can be read.
            problems: Gets everything that cannot be used.
        """

    def read(self, file: SourceFile) -> bytes:
        """Return a file's bytes; safe to call from several threads.

        Raises:
            DatasetError: The file cannot be read or is damaged in the archive.
        """
        return self.tree.read(file)

    def digest_of(self, file: SourceFile) -> str:
        """The sha256 of an annotation file that was read; "" where it could not be."""
        return self._digests.get(file.key, "")

    def _read_annotation(self, file: SourceFile) -> bytes:
        data = self.tree.read(file)
        self._digests[file.key] = hashlib.sha256(data).hexdigest()
        return data


def split_in(text: str) -> str | None:
    """Return the split that a name or path tells of: `train`, `val` or `test`.

    The last one counts: `train/annotations/instances_val2017.json` is of `val`.
    """
    found = None
    for match in _SPLIT.finditer(text.lower()):
        found = next(split for split, group in zip(SPLITS, match.groups(), strict=True) if group)
    return found


def named_apart(paths: Mapping[str, SourceFile], where: str) -> dict[str, SourceFile]:
    """Give every picture a name of its own, for they will lie in one folder: its path where its bare name is taken.

    Args:
        paths: Path below the tree's top -> file.
        where: The source, for messages.

    Returns:
        Path -> the file under its name, sorted by the bytes of the names.

    Raises:
        DatasetError: Names differ only in case, which some file systems hold to be one.
    """
    taken = Counter(file.name.casefold() for file in paths.values())
    alike = Counter(path.casefold() for path in paths)
    named: dict[str, SourceFile] = {}
    first_of: dict[str, str] = {}
    for path, file in paths.items():
        alone = taken[file.name.casefold()] == 1 or alike[path.casefold()] > 1
        name = file.name if alone else path.replace("/", "__")
        if len(name) > MAX_NAME:
            raise DatasetError(f"{file.where}: another picture has its name, and its path is too long for a name")
        first = first_of.setdefault(name.casefold(), path)
        if first != path:
            first_name, own = PurePosixPath(first).name, file.name
            how = "differ only in case" if first_name.casefold() == own.casefold() else f"would both be called {name!r}"
            raise DatasetError(f"{where}: {first_name!r} and {own!r} {how}; rename one")
        named[path] = SourceFile(name, file.where, file.key)
    return dict(sorted(named.items(), key=lambda item: byte_order(item[1].name)))


def parent_of(path: str) -> str:
    """The folder of a path below the top; "" is the top."""
    return path.rpartition("/")[0]


def stem_of(path: str) -> str:
    """The name of a path without its suffix."""
    return PurePosixPath(path).stem
