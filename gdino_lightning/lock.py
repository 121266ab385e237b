"""One process at a time writes in a folder."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from gdino_lightning.errors import ConfigError

LOCK_NAME = ".lock"  # in a folder, while it is held

logger = logging.getLogger(__name__)

_held: dict[Path, int] = {}  # folders that this process holds -> its id, which a forked child does not share


@contextmanager
def hold(folder: Path, advice: str, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing in a folder until the block, or this process, ends.

    The operating system holds the lock, so a killed process leaves none, only a file without meaning. Where the system
    or the disk cannot lock (Windows, some network disks), a warning says so and the block runs all the same. A process
    that holds the folder already may hold it again.

    Args:
        folder: The folder; made where it is missing, and removed in the end where it was made here and is empty.
        advice: What to do when another process holds it; ends the error.
        wait: Wait for that process instead.

    Raises:
        ConfigError: Another process holds it.
        OSError: The folder cannot be made or written.
    """
    place = folder.resolve()
    if _held.get(place) == os.getpid():
        yield
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with _locked(folder / LOCK_NAME, advice, wait):
            _held[place] = os.getpid()
            try:
                yield
            finally:
                del _held[place]
    finally:
        with suppress(OSError):  # something lies in it
            for each in missing:
                each.rmdir()


@contextmanager
def _locked(path: Path, advice: str, wait: bool) -> Iterator[None]:
    file = _acquire(path, advice, wait)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # first, or it could be the next holder's
            file.close()


def _acquire(path: Path, advice: str, wait: bool) -> TextIO | None:
    """Return the locked file, which names its holder; None where nothing can be locked."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue  # the holder before removed the folder between our making and our opening
        try:
            _lock(file, path.parent, advice, wait)
        except (OSError, ImportError) as error:
            logger.warning("%s: cannot be locked (%s); let no second process write in it", path.parent, error)
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        if _is_still(path, file):
            _sign(file)
            return file
        file.close()  # the holder before removed it between our opening and our locking


def _lock(file: TextIO, folder: Path, advice: str, wait: bool) -> None:
    import fcntl  # not on Windows

    # A record lock, not `flock`: forked loader workers would share that and outlive a killed run by some seconds.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read() or "another process"
        if not wait:
            raise ConfigError(f"{folder}: in use by {holder}; {advice}") from None
        logger.info("%s: in use by %s; waiting for it", folder, holder)
        fcntl.lockf(file, fcntl.LOCK_EX)


def _sign(file: TextIO) -> None:
    with suppress(OSError):  # a full disk: the folder is held all the same, by somebody without a name
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())


def _is_still(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
