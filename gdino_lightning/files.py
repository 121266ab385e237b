"""Files that are whole or absent at every moment, and one error for folders that cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gdino_lightning.errors import DatasetError

PART = ".part"  # ends the name of a file that is being written; such names begin with "."
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


def part_of(path: Path) -> Path:
    """Return the name under which a file is written before it takes its place."""
    return path.with_name(f".{path.name}{PART}")


def write_atomic(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file beside its place, then move it there: readers and crashes see the old file or the new one.

    Args:
        path: File to make or to replace; its folder is made where it is missing.
        data: What it shall hold.
        sync: Wait until the bytes are on the disk, so that not even a power cut leaves an empty file.

    Raises:
        OSError: The file cannot be written; where the disk is full, the error names it and the bytes needed.
            What was there before stays, and nothing is left beside it.
    """
    with replacing(path, sync=sync, size=len(data)) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: Path, *, sync: bool = False, size: int | None = None) -> Iterator[Path]:
    """Yield the name under which to write a file; at the end of the block it takes its place.

    Args:
        path: File to make or to replace; its folder is made where it is missing.
        sync: Wait until the bytes, and then the new name, are on the disk.
        size: Bytes that will be written, if they are known, for the error of a full disk.

    Raises:
        OSError: The file cannot be written; where the disk is full, the error names `path`. After this and every other
            error of the block what was there before stays, and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    part.unlink(missing_ok=True)  # a killed process may have left a link to a file that must not change
    try:
        yield part
        if sync:
            _sync(part, os.O_RDWR)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            needed = "it" if size is None else f"{size:,} bytes"
            raise OSError(error.errno, f"no space for {needed}", str(path)) from error
        raise
    if sync and os.name == "posix":  # elsewhere folders cannot be opened
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks do not sync folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def refuse_unwritable(root: Path) -> Iterator[None]:
    """Turn the errors of a folder that cannot be written into one that names the remedy.

    Raises:
        DatasetError: A file or folder below `root` cannot be made, read or replaced.
        OSError: The disk is full: another folder on it would not help.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        name = error.filename or root
        reason = error.strerror or error
        raise DatasetError(f"{name}: cannot be written ({reason}); choose another --root") from error
