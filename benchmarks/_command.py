"""What the benchmarks' commands have in common: exit codes, and one line for everything that ends them early."""

import argparse
import signal
import sys
from collections.abc import Callable

from benchmarks._runs import RunError
from gdino_lightning.errors import GdinoError

BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143


def exit_code(name: str, work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit code.

    Args:
        name: Name of the command, which begins its error messages.
        work: Trains, reads, prints.
    """
    try:
        work()
    except GdinoError as error:
        return _fail(name, str(error), BAD_INPUT)
    except RunError as error:
        return _fail(name, str(error), error.code)
    except KeyboardInterrupt:
        return _fail(name, "interrupted; finished runs are kept, the same command goes on", INTERRUPTED)
    return 0


def end_on_sigterm() -> None:
    """Let SIGTERM end the training in progress too; it runs in a process of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


def positive(text: str) -> int:
    """Read a whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _fail(name: str, message: str, code: int) -> int:
    print(f"{name}: {message}", file=sys.stderr)
    return code
