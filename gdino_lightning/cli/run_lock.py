"""One process at a time writes in a run folder."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gdino_lightning.errors import ConfigError

LOCK_NAME = ".lock"  # in a run folder, while it is held

logger = logging.getLogger(__name__)


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Keep other processes from writing in a run folder until the block, or this process, ends.

    The operating system holds the lock, so a killed process leaves none, only a file without meaning. Where the system
    or the disk cannot lock (Windows, some network disks), a warning says so and the run goes on.

    Args:
        folder: The run folder; made where it is missing.

    Raises:
        ConfigError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    file = _acquire(path)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # first, or it could be the next holder's
            file.close()


def _acquire(path: Path) -> TextIO | None:
    """Return the locked file, which names its holder; None where nothing can be locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise ConfigError(
                f"{path.parent}: in use by {holder}; wait for it or stop it, or start a new run in another folder "
                "with --run"
            ) from None
        except (OSError, ImportError) as error:
            logger.warning("%s: cannot be locked (%s); start no second run in it", path.parent, error)
            file.close()
            return None
        if _is_still(path, file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.close()  # the holder before removed it between our opening and our locking


def _lock(file: TextIO) -> None:
    import fcntl  # not on Windows

    # A record lock, not `flock`: forked loader workers would share that and outlive a killed run by some seconds.
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
