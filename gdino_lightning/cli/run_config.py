"""The config.yaml of a run folder: it may be a stranger's, so it may not name code to be imported.

A configuration names classes by their import path, and importing runs what a module holds. Of a file that came with a
checkpoint, and that nobody asked for by name, only classes of this package and some of Lightning's are taken. What the
user gives as `--config` is the user's own.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gdino_lightning.cli.phrase_check import load_strict, read_text
from gdino_lightning.errors import ConfigError

SECTIONS = ("model", "data", "trainer")
_TRUSTED = (
    "gdino_lightning.",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",  # others send what they log to somebody
    "lightning.pytorch.plugins.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
)
_FUNCTIONS = "LambdaCallback"  # of Lightning: calls whatever function it is given the name of
_OF_CLASSES = ("callbacks", "logger", "plugins")  # keys of the trainer whose texts are names of classes or files
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def read_run_config(path: Path) -> dict[str, Any]:
    """Read the configuration that a run left beside its checkpoints, for plain values.

    Raises:
        ConfigError: It is no configuration of a run.
    """
    written = load_strict(read_text(path), str(path))
    if not isinstance(written, dict) or not all(isinstance(written.get(name, {}), dict) for name in SECTIONS):
        raise ConfigError(f"{path}: is no configuration of a run, which has the sections {', '.join(SECTIONS)}")
    return {name: {} for name in SECTIONS} | written


def check_run_config(path: Path) -> None:
    """Find out whether a run's configuration can be handed to the parser, which imports what it names.

    Raises:
        ConfigError: It is no configuration of a run, or names code that is not this package's or Lightning's.
    """
    if name := next(_foreign(read_run_config(path), inside=()), None):
        raise ConfigError(
            f"{path}: names {name}, and a configuration that comes with a checkpoint may only name classes of this "
            f"package and of Lightning, since to import one is to run its code; if you trust it: --config {path}"
        )


def _foreign(value: object, inside: tuple[object, ...]) -> Iterator[str]:
    """Find the texts that could be imported, or read as a further file, and are not trusted.

    Args:
        value: A part of the configuration.
        inside: The keys that lead to it.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _foreign(each, (*inside, key))
    elif isinstance(value, list):
        for each in value:
            yield from _foreign(each, inside)
    elif isinstance(value, str) and not _is_plain(value, inside):
        yield repr(value[:100])


def _is_plain(text: str, inside: tuple[object, ...]) -> bool:
    """Tell whether a text can be trusted where it stands."""
    if inside[-1] == "class_path":
        return text.startswith(_TRUSTED) and not text.endswith(f".{_FUNCTIONS}")
    if inside[0] in ("model", "data", "reference"):  # nothing there is a class
        return len(inside) > 1
    if inside[0] != "trainer":
        return inside[0] != "config"
    if len(inside) < 3 and inside[-1] in _OF_CLASSES:
        return False
    return not _IMPORT_PATH.fullmatch(text) and not Path(text).is_file()
