"""A disk that is full after some bytes of a checkpoint, and one on which the process dies there."""

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gdino_lightning.files import part_of


def fail_within(monkeypatch: pytest.MonkeyPatch, path: Path, after: int, fail: Callable[[], None]) -> None:
    """Call `fail` when so many bytes of what shall become `path` are in its part file."""
    open_file = Path.open

    def open_limited(opened: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if opened.absolute() == part_of(path.absolute()) and mode == "wb":
            return _Limited(opened, after, fail)
        return open_file(opened, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_limited)


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Limited(io.FileIO):
    def __init__(self, path: Path, after: int, fail: Callable[[], None]) -> None:
        super().__init__(path, "wb")
        self.left, self.fail = after, fail

    def write(self, data: object) -> int:
        self.left -= memoryview(data).nbytes
        if self.left < 0:
            self.fail()
        return super().write(data)
