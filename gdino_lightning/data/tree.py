"""The files of a dataset: a folder or a zip archive as one safe list of paths.

Nothing is unpacked: files are read one at a time by paths that were checked first, so a hostile archive cannot
write or read anywhere.
"""

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from gdino_lightning.data.fields import byte_order, parse_file_name, shown
from gdino_lightning.errors import DatasetError

MAX_FILE_BYTES = 1_000_000_000
MAX_ARCHIVE_BYTES = 100_000_000_000
MAX_ARCHIVE_RATIO = 100  # pictures are compressed already; a bomb of zeros reaches 1,000
MAX_DEPTH = 12  # folders in one another
MAX_FILES = 10_000_000

_ENCRYPTED = 0x1  # bit 0 of a zip entry's flags


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: Bare file name.
        where: How messages call it, such as `archive.zip/annotations/a.xml`.
        key: Where the source finds it: the path in the archive or on disk.
    """

    name: str
    where: str
    key: str

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name in small letters."""
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True)
class Tree:
    """The files below a folder of a dataset, hidden ones left out.

    Attributes:
        path: The dataset's folder or archive.
        files: Path below the tree's top, with "/" -> file, sorted by the bytes of the paths.
        folders: Paths of the folders below the top.
        odd: Path -> what is wrong with it: no plain file, an unsafe name, a link out of the dataset.
        read: Returns a file's bytes; safe to call from several threads. Raises `DatasetError` where it cannot be
            read or is damaged in the archive.
    """

    path: Path
    files: Mapping[str, SourceFile]
    folders: frozenset[str]
    odd: Mapping[str, str]
    read: Callable[[SourceFile], bytes]

    def below(self, top: str) -> "Tree":
        """The tree of one of its folders; "" for itself."""
        if not top:
            return self
        start = f"{top}/"
        return replace(
            self,
            files={path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)},
            folders=frozenset(path.removeprefix(start) for path in self.folders if path.startswith(start)),
            odd={path.removeprefix(start): text for path, text in self.odd.items() if path.startswith(start)},
        )

    def children(self, folder: str) -> dict[str, SourceFile]:
        """The files directly in a folder ("" is the top), by their paths.

        Raises:
            DatasetError: Something in it cannot be used.
        """
        for path, problem in self.odd.items():
            if _parent(path) == folder:
                raise DatasetError(problem)
        return {path: file for path, file in self.files.items() if _parent(path) == folder}

    def with_suffix(self, *suffixes: str) -> dict[str, SourceFile]:
        """All files of these suffixes, in small letters, by their paths."""
        return {path: file for path, file in self.files.items() if file.suffix in suffixes}


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open a dataset folder or zip archive.

    Raises:
        DatasetError: It is missing, damaged or unsafe.
    """
    if path.is_dir():
        try:
            folder = _walk(path)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        yield folder
    elif path.is_file():
        with _open_archive(path) as archive:
            yield _listed(path, archive)
    elif path.exists():
        raise DatasetError(f"{path}: neither a folder nor a file; give one of them")
    else:
        raise DatasetError(f"{path}: no such folder or file; check the path")


def _walk(top: Path) -> Tree:
    """List a folder. Links to folders are followed: pictures often lie on another disk."""
    files: dict[str, SourceFile] = {}
    folders: set[str] = set()
    odd: dict[str, str] = {}
    root = top.resolve()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(top, folder, odd):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and (top / path).is_dir()):
                folders.add(path)
                if path.count("/") < MAX_DEPTH:  # which a circle of links reaches
                    waiting.append(path)
            elif problem := _entry_problem(entry, top / path, root):
                odd[path] = problem
            else:
                files[path] = SourceFile(entry.name, (top / path).as_posix(), str(top / path))
        if len(files) > MAX_FILES:
            raise DatasetError(f"{top}: more than {MAX_FILES:,} files; name the folder of one dataset")
    return Tree(top, _sorted(files), frozenset(folders), odd, _read_from_disk)


def _entries(top: Path, folder: str, odd: dict[str, str]) -> list[os.DirEntry[str]]:
    """The entries of a folder; of the top's, an error is the caller's."""
    try:
        with os.scandir(top / folder) as entries:
            return [entry for entry in entries if not _is_hidden(entry.name)]
    except OSError as error:
        if not folder:
            raise
        odd[f"{folder}/?"] = f"{top / folder}: cannot be read ({error.strerror or error})"
        return []


def _entry_problem(entry: os.DirEntry[str], path: Path, root: Path) -> str | None:
    """Say why an entry is not used: no plain file, a link out of the dataset, a name; never opens it."""
    if not (entry.is_file(follow_symlinks=False) or path.is_file()):
        return f"{shown_path(path)}: not a plain file (folder, broken link or device); remove or replace it"
    if entry.is_symlink() and root not in path.resolve().parents:
        return f"{shown_path(path)}: link that leaves the dataset; copy the file instead"
    return _name_problem(path.name, path.as_posix())


def _name_problem(name: str, where: str) -> str | None:
    try:
        safe = parse_file_name(name)
    except ValueError as error:
        return f"{shown(where, 200)}: file name {error}; rename the file"
    if safe != name:
        return f"{shown(where, 200)}: file name begins or ends with a space; rename the file"
    return None


def _read_from_disk(file: SourceFile) -> bytes:
    path = Path(file.key)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DatasetError(f"{file.where}: larger than {MAX_FILE_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file.where}: cannot be read ({error.strerror or error})") from error


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DatasetError(f"{path}: no zip archive, or a damaged one ({error}); download it again") from error


def _listed(path: Path, archive: zipfile.ZipFile) -> Tree:
    members = _safe_members(path, archive.infolist())
    folders = {str(parent) for member in members for parent in member.parents} - {"."}
    files: dict[str, SourceFile] = {}
    odd: dict[str, str] = {}
    for member, key in members.items():
        where = f"{path.as_posix()}/{member}"
        if problem := _name_problem(member.name, where):
            odd[str(member)] = problem
        else:
            files[str(member)] = SourceFile(member.name, where, key)
    return Tree(path, _sorted(files), frozenset(folders), odd, partial(_read_from_archive, archive))


def _read_from_archive(archive: zipfile.ZipFile, file: SourceFile) -> bytes:
    try:
        return archive.read(file.key)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{file.where}: damaged in the archive ({error}); download it again") from error


def _safe_members(path: Path, members: Iterable[zipfile.ZipInfo]) -> dict[PurePosixPath, str]:
    """Check every entry of an archive before any is read; return the path of each file and its raw name."""
    paths: dict[PurePosixPath, str] = {}
    total = packed = 0
    for member in members:
        total += member.file_size
        packed += member.compress_size
        problem = _member_problem(member)
        if problem:
            raise DatasetError(f"{path}: entry {shown(member.filename)} {problem}; the archive is not used")
        member_path = PurePosixPath(member.filename)
        if member.is_dir() or any(_is_hidden(part) for part in member_path.parts):
            continue
        if member_path in paths:
            raise DatasetError(f"{path}: entry {shown(member.filename)} appears twice; pack the archive again")
        paths[member_path] = member.filename
    if total > MAX_ARCHIVE_BYTES or total > MAX_ARCHIVE_RATIO * max(packed, 1_000_000):
        raise DatasetError(f"{path}: would unpack {packed:,} bytes to {total:,}: refused as a zip bomb")
    return paths


def _member_problem(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    parts = name.removesuffix("/").split("/")
    if not name:
        return "has no name"
    if name.startswith("/") or "\\" in name or ":" in parts[0]:
        return "is an absolute path or has a backslash or drive letter"
    if ".." in parts:
        return 'leaves the archive by ".."'
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.file_size > MAX_FILE_BYTES:
        return f"unpacks to more than {MAX_FILE_BYTES:,} bytes"
    return None


def shown_path(path: Path) -> str:
    """A path for a message, quoted where it cannot be printed."""
    text = str(path)
    return text if text.isprintable() else shown(text, 200)


def _sorted(files: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
    return {path: files[path] for path in sorted(files, key=byte_order)}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
