"""Python imports this at start where its folder is in PYTHONPATH: each process notes what it changes, and whom it asks.

AUDIT_FOLDER gets a file for each process, named by its rank and number, with a path that it changes on the disk, or a
machine that it dials, a line. Python's own audit events tell of it; what the C code of a library opens by itself goes
unnoticed.
"""

import os
import sys

from outside import dialled

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
NOTES: dict[int, int] = {}  # by process, as forked ones have this module, too
NOWHERE = -1


def note(event: str, arguments: tuple[object, ...]) -> None:
    if (machine := dialled(event, arguments)) is not None:
        write("dialled", machine)
    changes = event in CHANGES or (event == "open" and bool(arguments[2] & WRITES))
    if changes and isinstance(arguments[0], str | bytes):
        write(event, os.path.normpath(os.path.join(base(event, arguments), os.fsdecode(arguments[0]))))  # noqa: PTH118


def base(event: str, arguments: tuple[object, ...]) -> str:
    """The folder that a path is relative to: these events name an open one last, or -1."""
    within = event in ("os.mkdir", "os.remove", "os.rmdir") and arguments[-1] != -1
    return os.readlink(f"/proc/self/fd/{arguments[-1]}") if within else os.getcwd()  # noqa: PTH109, PTH115


def write(event: str, what: str) -> None:
    process = os.getpid()
    if process not in NOTES:
        NOTES[process] = NOWHERE  # while the notes are opened, which is an event
        name = f"{os.environ.get('LOCAL_RANK', '0')}-{process}"
        NOTES[process] = os.open(f"{os.environ['AUDIT_FOLDER']}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if NOTES[process] != NOWHERE:
        os.write(NOTES[process], f"{event} {what}\n".encode(errors="surrogateescape"))


if "AUDIT_FOLDER" in os.environ:
    sys.addaudithook(note)
    note("open", (__file__, "w", os.O_WRONLY))  # so that there are notes of a process that changes nothing
