"""What `prepare` reads: a folder or zip archive with `images/` and `annotations/`, as a safe list of files.

Nothing is unpacked: files are read one at a time by bare names that were checked first, so a hostile archive
cannot write or read anywhere.
"""

import stat
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gdino_lightning.data.fields import IMAGE_SUFFIXES, byte_order, parse_file_name, shown
from gdino_lightning.errors import DatasetError

IMAGES = "images"
ANNOTATIONS = "annotations"
ACCEPTED_LAYOUTS = (
    "accepted: a folder or .zip archive with images/*.{png,jpg,...} and annotations/*.xml, "
    "at its top or inside one single folder"
)
MAX_FILE_BYTES = 1_000_000_000
MAX_ARCHIVE_BYTES = 100_000_000_000
MAX_ARCHIVE_RATIO = 100  # pictures are compressed already; a bomb of zeros reaches 1,000

_ENCRYPTED = 0x1  # bit 0 of a zip entry's flags


@dataclass(frozen=True)
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


class Source(ABC):
    """Pictures and annotations of a dataset, each sorted by the bytes of their names.

    Attributes:
        pictures: Files of `images/` that have a picture's suffix.
        annotations: XML files of `annotations/`.
        ignored: Names (with folder) of other files in those two folders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        folders = {folder: self._list(folder) for folder in (IMAGES, ANNOTATIONS)}
        for folder, files in folders.items():
            _check_distinct(files, f"{path.name}/{folder}")
        self.pictures = _with_suffix(folders[IMAGES], IMAGE_SUFFIXES)
        self.annotations = _with_suffix(folders[ANNOTATIONS], {".xml"})
        kept = {file.where for file in (*self.pictures, *self.annotations)}
        self.ignored = tuple(
            f"{folder}/{file.name}" for folder, files in folders.items() for file in files if file.where not in kept
        )
        if not self.pictures or not self.annotations:
            empty = IMAGES if not self.pictures else ANNOTATIONS
            raise DatasetError(f"{path}: nothing usable in {empty}/; {ACCEPTED_LAYOUTS}")

    @abstractmethod
    def read(self, file: SourceFile) -> bytes:
        """Return a file's bytes; safe to call from several threads.

        Raises:
            DatasetError: The file cannot be read or is damaged in the archive.
        """

    @abstractmethod
    def _list(self, folder: str) -> list[SourceFile]:
        """List the files directly in `images` or `annotations`, without dot files."""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a dataset folder or zip archive.

    Raises:
        DatasetError: It is missing, damaged, unsafe or laid out otherwise.
    """
    if path.is_dir():
        try:
            folder = _FolderSource(path)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        yield folder
    elif path.is_file():
        with _open_archive(path) as archive:
            yield _ZipSource(path, archive)
    elif path.exists():
        raise DatasetError(f"{path}: neither a folder nor a file; {ACCEPTED_LAYOUTS}")
    else:
        raise DatasetError(f"{path}: no such folder or file; check the path. {ACCEPTED_LAYOUTS}")


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DatasetError(f"{path}: no zip archive, or a damaged one ({error}); download it again") from error


class _FolderSource(Source):
    def __init__(self, path: Path) -> None:
        self._top = _find_top(path, _FolderSource._folder_names(path))
        super().__init__(path)

    @staticmethod
    def _folder_names(path: Path) -> list[str]:
        """Names of the folders at the top and, one level down, `folder/name`."""
        tops = [entry for entry in path.iterdir() if entry.is_dir() and not _is_hidden(entry.name)]
        below = [f"{top.name}/{name}" for top in tops for name in (IMAGES, ANNOTATIONS) if (top / name).is_dir()]
        return [top.name for top in tops] + below

    def read(self, file: SourceFile) -> bytes:
        path = Path(file.key)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DatasetError(f"{file.where}: larger than {MAX_FILE_BYTES:,} bytes")
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{file.where}: cannot be read ({error.strerror or error})") from error

    def _list(self, folder: str) -> list[SourceFile]:
        directory = self.path / self._top / folder
        files = []
        for entry in sorted(directory.iterdir(), key=lambda entry: byte_order(entry.name)):
            if not _is_hidden(entry.name):
                _check_regular(entry, directory)
                files.append(_source_file(entry.name, entry.as_posix(), str(entry)))
        return files


class _ZipSource(Source):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._paths = _safe_members(path, archive.infolist())
        folders = {str(parent) for member in self._paths for parent in member.parents}
        self._top = _find_top(path, folders - {"."})
        super().__init__(path)

    def read(self, file: SourceFile) -> bytes:
        try:
            return self._archive.read(file.key)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise DatasetError(f"{file.where}: damaged in the archive ({error}); download it again") from error

    def _list(self, folder: str) -> list[SourceFile]:
        top = PurePosixPath(self._top) / folder
        files = []
        for member, key in self._paths.items():
            if member.parent == top:
                files.append(_source_file(member.name, f"{self.path.as_posix()}/{member}", key))
            elif top in member.parents:
                raise DatasetError(f"{self.path}/{member}: {folder}/ holds a folder; put its files directly into it")
        return sorted(files, key=lambda file: byte_order(file.name))


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


def _find_top(path: Path, folders: Iterable[str]) -> str:
    """Find the folder that holds `images` and `annotations`: the top itself ("") or a single folder in it."""
    found = set(folders)
    tops = {name.split("/")[0] for name in found}
    candidates = [top for top in ["", *sorted(tops)] if _has_both(found, top)]
    if len(candidates) == 1 or "" in candidates:
        return candidates[0]
    if candidates:
        names = ", ".join(candidates)
        raise DatasetError(f"{path}: several datasets inside ({names}); name one of these folders as the source")
    present = ", ".join(f"{name}/" for name in sorted(tops)[:8]) or "no folder"
    raise DatasetError(f"{path}: looked for {IMAGES}/ and {ANNOTATIONS}/, found {present}; {ACCEPTED_LAYOUTS}")


def _has_both(folders: set[str], top: str) -> bool:
    return all(str(PurePosixPath(top) / name) in folders for name in (IMAGES, ANNOTATIONS))


def _check_regular(entry: Path, directory: Path) -> None:
    """Refuse what is no plain file, and links out of the dataset; never opens the entry."""
    if not entry.is_file():
        raise DatasetError(f"{entry}: not a plain file (folder, broken link or device); remove or replace it")
    if entry.is_symlink() and directory.parent.resolve() not in entry.resolve().parents:
        raise DatasetError(f"{entry}: link that leaves the dataset; copy the file instead")


def _check_distinct(files: Iterable[SourceFile], where: str) -> None:
    """Refuse names that some file systems hold to be one: `a.PNG` and `a.png`."""
    seen: dict[str, str] = {}
    for file in files:
        first = seen.setdefault(file.name.casefold(), file.name)
        if first != file.name:
            raise DatasetError(f"{where}: {first!r} and {file.name!r} differ only in case; rename one")


def _source_file(name: str, where: str, key: str) -> SourceFile:
    try:
        safe = parse_file_name(name)
    except ValueError as error:
        raise DatasetError(f"{shown(where, 200)}: file name {error}; rename the file") from error
    if safe != name:
        raise DatasetError(f"{shown(where, 200)}: file name begins or ends with a space; rename the file")
    return SourceFile(name=name, where=where, key=key)


def _with_suffix(files: Iterable[SourceFile], suffixes: Set[str]) -> tuple[SourceFile, ...]:
    return tuple(file for file in files if PurePosixPath(file.name).suffix.lower() in suffixes)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
