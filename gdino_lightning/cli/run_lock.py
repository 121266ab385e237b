"""One process at a time writes in a run folder."""

from contextlib import AbstractContextManager
from pathlib import Path

from gdino_lightning.lock import hold


def hold_run(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from writing in a run folder until the block, or this process, ends.

    Args:
        folder: The run folder; made where it is missing.

    Raises:
        ConfigError: Another process holds it.
    """
    return hold(folder, "wait for it or stop it, or start a new run in another folder with --run")
