"""What `--source` means: a picture, a folder, a glob pattern, a video, or a list of them."""

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gdino_lightning.data.fields import IMAGE_SUFFIXES, byte_order
from gdino_lightning.errors import DatasetError, listed

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
LIST_SUFFIX = ".txt"
_KINDS = (
    "a picture (png, jpg, bmp, tif, webp), a video (mp4, avi, mov, mkv, ...), a folder, a glob pattern or a .txt list"
)


@dataclass(frozen=True)
class Source:
    """One file to look at.

    Attributes:
        path: Where it is.
        name: A bare file name that no other source of the run has; folders in between are part of it, as in
            `summer__dog.jpg`.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Tell a video from a picture."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_sources(text: str, leave_out: Path | None = None) -> list[Source]:
    """Find the pictures and videos that a user means, sorted by the bytes of their names.

    Args:
        text: A path or a glob pattern. Folders are searched with all folders in them; a list has a path a line,
            relative to the list.
        leave_out: A folder that is not searched, where the results go.

    Raises:
        DatasetError: There is no such file, it is of an unknown kind, or there is nothing in it.
    """
    path = Path(text)
    if path.is_dir():
        found = _in_folder(path, leave_out)
        return _named(found, path, f"{path}: no picture and no video in it; give {_KINDS}")
    if path.is_file():
        if path.suffix.lower() == LIST_SUFFIX:
            found = _in_list(path)
            return _named(found, _common(found), f"{path}: no line names a file; write a path a line")
        if not _is_known(path):
            raise DatasetError(f"{path}: unknown extension {path.suffix!r}; give {_KINDS}")
        return [Source(path, path.name)]
    if not glob.has_magic(text):
        raise DatasetError(f"{path}: no such file or folder; give {_KINDS}")
    found = [each for each in map(Path, glob.iglob(text, recursive=True)) if _is_known(each) and each.is_file()]  # noqa: PTH207  # Path.glob takes no absolute pattern
    found = [each for each in found if leave_out is None or not each.resolve().is_relative_to(leave_out.resolve())]
    return _named(found, _common(found), f"{text}: no picture and no video fits the pattern; put it in quotes")


def _in_folder(folder: Path, leave_out: Path | None) -> list[Path]:
    skipped = None if leave_out is None else leave_out.resolve()
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            each for each in folders if not each.startswith(".") and (Path(parent) / each).resolve() != skipped
        ]
        found += [Path(parent) / each for each in names if not each.startswith(".") and _is_known(Path(each))]
    return found


def _in_list(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a UTF-8 list of paths ({error})") from error
    return [path.parent / line.strip() for line in lines if line.strip()]


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _common(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else Path()


def _named(paths: Iterable[Path], root: Path, nothing: str) -> list[Source]:
    """Name files by their place below `root`.

    Raises:
        DatasetError: There are none, with `nothing` as its text, or two would have one name.
    """
    by_name: defaultdict[str, dict[Path, None]] = defaultdict(dict)
    for path in paths:
        name = "__".join(path.absolute().relative_to(root.absolute()).parts)
        by_name[name][path] = None
    if not by_name:
        raise DatasetError(nothing)
    for name, same in by_name.items():
        if len(same) > 1:
            raise DatasetError(f"{listed(map(str, same))}: all would be called {name}; rename one, or run them apart")
    return [Source(next(iter(by_name[name])), name) for name in sorted(by_name, key=byte_order)]
