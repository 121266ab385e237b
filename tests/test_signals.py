"""Signals are answered in a block, and as before behind it."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from gdino_lightning.signals import TERMINATED_CODE, Terminated, handling, is_ending, terminate


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A suite that was started with nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_the_block_with_its_name_and_code(number):
    before = signal.getsignal(number)
    with pytest.raises(Terminated) as stop, handling(terminate):
        os.kill(os.getpid(), number)
    assert (stop.value.code, stop.value.name) == (TERMINATED_CODE, number.name) == (143, number.name)
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(terminate):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_changes_no_handler():
    seen = []

    def run() -> None:
        with handling(terminate):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_endings_are_no_failures():
    assert all(is_ending(each) for each in (KeyboardInterrupt(), SystemExit(1), Terminated(signal.SIGTERM)))
    assert not is_ending(ValueError())
