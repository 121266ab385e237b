"""Processes that are killed while they work."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from tqdm import tqdm

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}  # audit events; files that are opened to write beside


def killed_before(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a process that is killed before it changes the disk for time number `step`; False if it ended."""
    pid = os.fork()
    if pid == 0:
        _count_down(step)
        _run(act)
    return _was_killed(pid)


def killed_after(seconds: float, act: Callable[[], object]) -> bool:
    """Run `act` in a process that is killed after a time; False if it had come to its end."""
    pid = os.fork()
    if pid == 0:
        _run(act)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return _was_killed(pid)


def _count_down(left: int) -> None:
    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in _CHANGES:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def _run(act: Callable[[], object]) -> None:
    """Leave the forked process without what pytest would do at its end."""
    # tqdm's lock is shared with the parent: whoever is killed within it leaves every later bar there waiting
    tqdm.set_lock(threading.RLock())
    try:
        act()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def _was_killed(pid: int) -> bool:
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
