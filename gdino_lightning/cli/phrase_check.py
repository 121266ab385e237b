"""Classes and wordings as they are written: what YAML would change or drop without a word is refused before parsing.

YAML reads `yes`, `no` and `747` as other things than text, and of two equal keys it keeps the last; the parser behind
the command line turns what is not text into something else again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from gdino_lightning.errors import ConfigError, PromptError

MAX_YAML_BYTES = 1_000_000  # of a file; its reader takes seconds for more
MAX_YAML_VALUES = 30_000  # with every alias written out: the names of 14,000 classes and a wording of each
MAX_YAML_DEPTH = 100
_TOO_DEEP = "too many brackets or lists in one another"

_OWNERS = ("model", "reference")  # keys that have phrases


def check_phrases(arguments: Sequence[str]) -> None:
    """Look at the phrases of `model` and `reference`, on the command line and in every configuration.

    Raises:
        PromptError: If a class or wording is not text, or a class is named twice.
        ConfigError: If a configuration is no YAML or repeats a key.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for owner in _OWNERS:
        parser.add_argument(f"--{owner}.phrases", dest=owner, action="append", default=[])
    parser.add_argument("-c", "--config", action="append", default=[])
    given, _ = parser.parse_known_args([*arguments])
    for config in given.config:
        path = Path(config)
        if path.is_file():  # the parser says what is wrong with other paths
            settings = load_strict(read_text(path), str(path)) or {}
            if not isinstance(settings, dict):
                raise ConfigError(f"{path}: is no configuration; write sections such as `model:` and `data:`")
            for owner in _OWNERS:
                section = settings.get(owner)
                check_texts(section.get("phrases") if isinstance(section, dict) else None, f"{path}: {owner}.phrases")
    for flag, texts in ((f"--{owner}.phrases", getattr(given, owner)) for owner in _OWNERS):
        for text in texts:
            check_texts(load_strict(text, flag), flag)


class _StrictLoader(yaml.CSafeLoader):
    """Refuses a key that appears twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Build a mapping, or say which key is there twice and in which line."""
        seen: set[object] = set()
        # other keys than plain ones are refused below, where they cannot be told apart
        plain = [key_node for key_node, _ in node.value if isinstance(key_node, yaml.ScalarNode)]
        for key_node in plain:
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"{key} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        mapping: dict[object, object] = super().construct_mapping(node, deep)
        return mapping


def _check_size(text: str) -> None:
    """Look at a text before values are made of it: they take long if there are many, and libyaml dies of deep ones.

    Raises:
        yaml.YAMLError: It is no YAML, or its values are too many, with every alias written out, or too deep.
    """
    totals = [0]  # of every collection that is open, the document first
    names: list[str | None] = []
    anchored: dict[str, int] = {}
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            totals.append(0)
            names.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            inner = 1 + totals.pop()
            totals[-1] += inner
            if name := names.pop():
                anchored[name] = inner
        elif isinstance(event, yaml.AliasEvent):
            # one that is not known yet stands inside what it names
            totals[-1] += anchored.get(event.anchor or "", MAX_YAML_VALUES + 1)
        elif isinstance(event, yaml.ScalarEvent):
            totals[-1] += 1
            if event.anchor:
                anchored[event.anchor] = 1
        if len(totals) > MAX_YAML_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=cast(yaml.Mark, event.start_mark))
        if totals[-1] > MAX_YAML_VALUES:
            raise yaml.YAMLError(f"more than {MAX_YAML_VALUES:,} values, with its aliases written out")


def read_text(path: Path) -> str:
    """Read a YAML file.

    Raises:
        ConfigError: It is not UTF-8, or far larger than what a person writes.
    """
    if path.stat().st_size > MAX_YAML_BYTES:
        raise ConfigError(f"{path}: {path.stat().st_size:,} bytes, at most {MAX_YAML_BYTES:,} are read; shorten it")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8; save the file as UTF-8") from error


def read_mapping(path: Path, expected: str) -> dict[object, object]:
    """Read a YAML file that the user wrote as a mapping.

    Args:
        path: The file.
        expected: What it should be, for the message of an error.

    Raises:
        ConfigError: It is missing, no YAML, repeats a key, or is something else than a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give {expected}")
    written = load_strict(read_text(path), str(path))
    if not isinstance(written, dict):
        raise ConfigError(f"{path}: is something else than {expected}")
    return written


def load_strict(text: str, where: str) -> object:
    """Load YAML as written: a key that stands twice is an error.

    Raises:
        ConfigError: It is no YAML, or repeats a key.
    """
    try:
        _check_size(text)
        value: object = yaml.load(text, _StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: {error.problem}; correct the YAML") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}; correct the YAML") from error
    except Exception as error:  # PyYAML lets out what Python raises for a 13th month, `!!int x` or 5,000 digits
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}; correct the YAML") from error
    return value


def check_texts(phrases: object, where: str) -> None:
    """Refuse classes and wordings that YAML reads as something else than text.

    Raises:
        PromptError: One of them is a number, a truth value, a date or nothing.
    """
    texts: list[object] = []
    if isinstance(phrases, dict):
        texts = [*phrases, *(wording for wording in phrases.values() if wording is not None)]
    elif isinstance(phrases, list):
        texts = phrases
    for text in texts:
        if not isinstance(text, str):
            raise PromptError(
                f"{where}: YAML reads {text!r} as {type(text).__name__}, not as text; put quotes round it"
            )
