"""The processes of a run that Lightning started watch one another: where one ends, all end, in one line.

Lightning kills the first process, with the code of a kill, where one of the others fails, and leaves the others to
their own where the first one does: they wait for it until their connection breaks, on GPUs for minutes.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed

from gdino_lightning.cli import INTERRUPTED, TERMINATED

_FIRST = "GDINO_FIRST_PROCESS"  # tells a process that Lightning starts who started it
_LOOK_EVERY, _GRACE = 0.5, 10.0  # seconds; in the grace a process that is not stuck ends by itself
_ASKED_TO_END = (INTERRUPTED, TERMINATED, 128 + signal.SIGINT, 128 + signal.SIGTERM)
_GRACE_TO_SAVE = 60.0  # seconds, where all were asked to end


def watch_peers(trainer: Trainer) -> None:
    """Look after the other processes of this machine from now on, on a thread; nothing happens in a run of one."""
    launcher = trainer.strategy.launcher
    if os.environ.get(_FIRST) == str(os.getppid()):
        threading.Thread(target=_watch_first, args=(os.getppid(),), daemon=True).start()
    elif isinstance(launcher, _SubprocessScriptLauncher):
        os.environ[_FIRST] = str(os.getpid())
        threading.Thread(target=_watch_others, args=(launcher,), daemon=True).start()


def is_lost_peer(error: BaseException) -> bool:
    """Tell whether an error says no more than that another process has gone."""
    text = str(error)
    gloo = "gloo" in text and any(word in text for word in ("Connection closed", "Connection reset", "Broken pipe"))
    return gloo or isinstance(error, distributed.DistNetworkError | distributed.DistBackendError)


def end_after_peer(trainer: Trainer, error: BaseException) -> NoReturn:
    """End this process because another one has gone, with the exit code of that one where it is known, else with 1."""
    launcher = trainer.strategy.launcher
    others = launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []
    end = time.monotonic() + _GRACE
    while others and (failed := _failed(others)) is None and time.monotonic() < end:
        time.sleep(_LOOK_EVERY)
    if others and failed is not None:
        _kill(others)
        _say(_ended(*failed))
        raise SystemExit(failed[1]) from error
    reason = str(error).strip().splitlines()[0]
    _say(f"process {trainer.global_rank} lost another one of this run, which says why where it could ({reason})")
    raise SystemExit(1) from error


def _watch_others(launcher: _SubprocessScriptLauncher) -> None:
    while (failed := _failed(launcher.procs)) is None:
        time.sleep(_LOOK_EVERY)
        _silence_lightning()
    time.sleep(_GRACE_TO_SAVE if failed[1] in _ASKED_TO_END else _GRACE)
    _kill(launcher.procs)
    _leave(_ended(*failed), failed[1])


def _watch_first(first: int) -> None:
    while os.getppid() == first:
        time.sleep(_LOOK_EVERY)
    time.sleep(_GRACE)
    _leave("the first process of this run has ended, so this one ends, too", 1)


def _failed(others: Sequence["subprocess.Popen[bytes]"]) -> tuple[int, int] | None:
    """Return rank on this machine and exit code of a process that failed; None while there is none."""
    for rank, process in enumerate(others, start=1):
        if code := process.poll():
            return rank, code if code > 0 else 128 - code  # as a shell tells of a signal
    return None


def _silence_lightning() -> None:
    """Let Lightning's own watch, which would kill the first process, find that it is done."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            thread._run = lambda: True  # type: ignore[attr-defined]  # private; tests/several_processes holds it


def _ended(rank: int, code: int) -> str:
    return f"process {rank} of this run ended with exit code {code}, so all were ended"


def _kill(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.kill()  # gentler signals are not seen by a process that waits for another one


def _leave(message: str, code: int) -> NoReturn:
    """End this process at once, whatever its main thread waits for."""
    _say(message)
    sys.stdout.flush()
    os._exit(code)


def _say(message: str) -> None:
    print(f"gdino: {message}", file=sys.stderr, flush=True)
