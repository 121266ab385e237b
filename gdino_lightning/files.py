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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        part.write_bytes(data)
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise OSError(error.errno, f"no space for {len(data):,} bytes", str(path)) from error
        raise


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
