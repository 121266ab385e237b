"""The run folder: where a run lives, which checkpoint is meant, and what it was trained with."""

import os
from pathlib import Path

from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.model.hub import refuse_url

CONFIG_NAME = "config.yaml"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
_CHOSEN = "GDINO_RUN_FOLDER"  # tells the other ranks of a multi-process run which folder rank zero chose


def resolve_checkpoint(text: str, in_folder: str = "best") -> Path:
    """Return the file that `--ckpt_path` means: a path, a run folder, or `best` or `last` of the newest run.

    Args:
        text: What the user gave.
        in_folder: The checkpoint that a run folder stands for: `best` to score, `last` to resume.

    Raises:
        CheckpointError: If there is no such file, where Lightning itself would start from scratch without a word, or it
            is an address, which Lightning would fetch and run.
    """
    refuse_url(text)
    path = Path("runs") / LATEST / CHECKPOINTS / f"{text}.ckpt" if text in ("best", "last") else Path(text)
    if path.is_dir():
        path = path / CHECKPOINTS / f"{in_folder}.ckpt"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `ls runs/*/checkpoints` shows those that are there")
    resolved = path.resolve()  # `latest` may move on while this run goes on
    return resolved.relative_to(Path.cwd()) if resolved.is_relative_to(Path.cwd()) else resolved


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, if it has its configuration."""
    folder = checkpoint.parent.parent
    return folder if checkpoint.parent.name == CHECKPOINTS and (folder / CONFIG_NAME).is_file() else None


def new_run(wanted: Path) -> Path:
    """Return `wanted`, or `wanted-2`, `wanted-3`, ... where a run was trained already: nothing is overwritten.

    Until `forget_run` is called, the answer stays the same, also in processes that are started meanwhile.

    Raises:
        ConfigError: If `wanted` is the place of the link to the newest run.
    """
    if chosen := os.environ.get(_CHOSEN):
        return Path(chosen)
    if wanted.name == LATEST:
        raise ConfigError(f"{wanted}: `{LATEST}` is the link to the newest run; choose another name for --run")
    folder, number = wanted, 1
    while _is_used(folder):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    os.environ[_CHOSEN] = str(folder)
    return folder


def forget_run() -> None:
    """Let the next `new_run` of this process choose again."""
    os.environ.pop(_CHOSEN, None)


def link_latest(run: Path) -> None:
    """Point `latest`, beside the run folder, at it."""
    link = run.parent / LATEST
    temporary = run.parent / f".{LATEST}-{os.getpid()}"
    temporary.symlink_to(run.name)
    temporary.replace(link)


def _is_used(folder: Path) -> bool:
    """Tell whether a run was trained here, or a file is in the way; scores of a model before training may lie there."""
    return (
        (folder / CONFIG_NAME).exists() or (folder / CHECKPOINTS).exists() or (folder.exists() and not folder.is_dir())
    )
