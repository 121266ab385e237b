"""How the Trainer writes and reads checkpoints: whole or absent at every moment, and without running code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO

from gdino_lightning.files import replacing


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs it and moves it there.

    Lightning's own writer goes through the temporary folder. Where that is on another disk, the last step is a copy
    onto the old checkpoint, and a kill within it leaves neither the old nor the new one; besides, it holds the file in
    memory. Sharded strategies write folders without asking this class.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write a checkpoint; see `write_checkpoint`.

        Raises:
            OSError: It cannot be written; the file of before stays.
            TypeError: There are storage options, which belong to remote storage.
        """
        if storage_options is not None:
            raise TypeError("checkpoints are local files: there are no storage options")
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(
        self, path: _PATH, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a local file with `weights_only=True`, whatever is asked for.

        Raises:
            FileNotFoundError: There is no such file; an address on the net is none.
        """
        checkpoint: dict[str, Any] = torch.load(Path(path), map_location=map_location, weights_only=True)
        return checkpoint


def with_whole_checkpoints(plugins: Any) -> list[Any]:
    """Return the plugins of a Trainer (one, several or None) with our way to write checkpoints, if there is none."""
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    return given if any(isinstance(each, CheckpointIO) for each in given) else [*given, WholeCheckpointIO()]


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a crash or a power cut leaves the old file or the new one.

    Raises:
        OSError: It cannot be written; where the disk is full, the error names it. The file of before stays.
    """
    with replacing(path, sync=True) as part:
        try:
            with part.open("wb") as file:
                torch.save(dict(checkpoint), file)
        except RuntimeError as error:  # when a write fails, torch's archive complains of its own length instead
            if isinstance(failed := error.__context__, OSError):
                raise OSError(failed.errno, failed.strerror, str(path)) from error
            raise
