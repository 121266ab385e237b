"""Classes that nobody typed: those of the tables, worded by their names."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdino_lightning.cli.phrase_check import load_strict, read_text
from gdino_lightning.data.pictures import class_names
from gdino_lightning.data.publish import finish_preparation
from gdino_lightning.data.source import SPLITS
from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import ConfigError
from gdino_lightning.prompt.phrases import class_phrases


def with_phrases(arguments: Sequence[str]) -> list[str]:
    """Complete the arguments of `fit` and its kin by `model.phrases`, where neither they nor a configuration have it.

    Args:
        arguments: As typed; their configurations have been looked at.

    Raises:
        ConfigError: There are no tables to take classes from.
        DatasetError: A table cannot be used.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("--ckpt_path")
    parser.add_argument("--data.root", dest="root")
    given, rest = parser.parse_known_args([*arguments])
    settings = [_settings(Path(path)) for path in given.config if Path(path).is_file()]
    told = any(argument.startswith(("--model.phrases", "--model=", "--help")) for argument in rest)
    if told or given.ckpt_path not in (None, "null") or any(_value(each, "model", "phrases") for each in settings):
        return [*arguments]
    roots = [root for each in settings if isinstance(root := _value(each, "data", "root"), str)]
    root = given.root or next(reversed(roots), None)
    if root is None:
        return [*arguments]
    finish_preparation(Path(root))
    names = class_names(Path(root)) or _of_captions_alone(Path(root))
    if not names:
        raise ConfigError(
            f"model.phrases is not set, and {root} has no table to take the classes from; run `gdino prepare --source "
            f"PATH --root {root}` first, or give the classes"
        )
    return [*arguments, f"--model.phrases={json.dumps(class_phrases(names), ensure_ascii=False)}"]


def _of_captions_alone(root: Path) -> list[str]:
    """A class that has no box, for a dataset of captions: the model has to have one."""
    return ["object"] if any((root / split / CAPTIONS_NAME).is_file() for split in SPLITS) else []


def _settings(path: Path) -> Any:
    return load_strict(read_text(path), str(path))


def _value(settings: Any, section: str, key: str) -> Any:
    found = settings.get(section) if isinstance(settings, dict) else None
    return found.get(key) if isinstance(found, dict) else None
