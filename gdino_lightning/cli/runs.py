"""The run folder: where a run lives, which checkpoint is meant, and what it was trained with."""

import os
from pathlib import Path

from gdino_lightning.errors import CheckpointError

CONFIG_NAME = "config.yaml"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
_CHOSEN = "GDINO_RUN_FOLDER"  # tells the other ranks of a multi-process run which folder rank zero chose


def resolve_checkpoint(text: str) -> Path:
    """Return the file that `--ckpt_path` means: a path, a run folder, or `best` or `last` of the newest run.

    Raises:
        CheckpointError: If there is no such file; Lightning itself would start from scratch without a word.
    """
    path = Path("runs") / LATEST / CHECKPOINTS / f"{text}.ckpt" if text in ("best", "last") else Path(text)
    if path.is_dir():
        path = path / CHECKPOINTS / "best.ckpt"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `ls runs/*/checkpoints` shows those that are there")
    resolved = path.resolve()  # `latest` may move on while this run goes on
    return resolved.relative_to(Path.cwd()) if resolved.is_relative_to(Path.cwd()) else resolved


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, if it has its configuration."""
    folder = checkpoint.parent.parent
    return folder if checkpoint.parent.name == CHECKPOINTS and (folder / CONFIG_NAME).is_file() else None


def new_run(wanted: Path) -> Path:
    """Return `wanted`, or `wanted-2`, `wanted-3`, ... where a run lives there already: nothing is overwritten."""
    if chosen := os.environ.get(_CHOSEN):
        return Path(chosen)
    folder, number = wanted, 1
    while folder.exists() and any(folder.iterdir()):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    os.environ[_CHOSEN] = str(folder)
    return folder


def link_latest(run: Path) -> None:
    """Point `latest`, beside the run folder, at it."""
    link = run.parent / LATEST
    temporary = run.parent / f".{LATEST}-{os.getpid()}"
    temporary.symlink_to(run.name)
    temporary.replace(link)
