"""Folders that another process holds."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gdino_lightning import lock
from gdino_lightning.errors import ConfigError
from gdino_lightning.lock import hold

FORK = multiprocessing.get_context("fork")
# Holds a folder, and forks a child that lives on for a while, as loader workers do; prints both process ids.
_HOLDER = """
import os, pathlib, sys, time
from gdino_lightning.lock import hold
with hold(pathlib.Path(sys.argv[1]), "wait"):
    child = os.fork()
    if child:
        print(os.getpid(), child, flush=True)
    time.sleep(120)
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[tuple[int, int]]:
    """Let another process hold a folder; yield its id and that of its child."""
    command = [sys.executable, "-c", _HOLDER, str(folder.absolute())]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(lock.__file__).parents[1])
    _, child = ids = tuple(map(int, holder.stdout.readline().split()))
    try:
        yield ids
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.wait()
        holder.stdout.close()


def is_free(folder: Path) -> bool:
    """Tell whether another process could hold the folder now."""

    def attempt() -> None:
        try:
            with hold(folder, "wait"):
                os._exit(0)
        except ConfigError:
            os._exit(1)

    child = FORK.Process(target=attempt)
    child.start()
    child.join()
    return child.exitcode == 0
