"""Signals that ask a process to end: what they are, and how they end what has nothing to save."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINATED_CODE = 143  # exit code of a process that was asked to end by anything but Ctrl-C
_NAMES = ("SIGTERM", "SIGHUP", "SIGUSR1")  # the last is what SLURM is usually told to warn with; Windows has the first
TERMINATIONS: tuple[signal.Signals, ...] = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
ENDINGS = (signal.SIGINT, *TERMINATIONS)

Handler = Callable[[int, FrameType | None], Any]


class Terminated(SystemExit):
    """A signal other than Ctrl-C asks this process to end now.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(TERMINATED_CODE)
        self.name = signal.Signals(number).name


def is_ending(exception: BaseException) -> bool:
    """Tell whether an exception is how a signal ends a process, not a failure."""
    return isinstance(exception, SystemExit | KeyboardInterrupt)


@contextmanager
def handling(handler: Handler, signals: Sequence[signal.Signals] = TERMINATIONS) -> Iterator[None]:
    """Let `handler` answer some signals in the block; afterwards they are answered as before.

    A signal that is ignored stays so, as SIGHUP under `nohup`. Outside of the main thread, where Python refuses
    handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}
    taken = [number for number, known in before.items() if known is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def terminate(number: int, _: FrameType | None) -> None:
    """End at once: the answer of whatever has nothing to save.

    Raises:
        Terminated: Always.
    """
    raise Terminated(number)


def leave_endings_to_the_parent() -> None:
    """Ignore requests to end: a terminal and SLURM send them to a whole group, of which the parent decides alone."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
