"""Phrases as they are given on the command line: a text, or a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gdino_lightning.errors import ConfigError

if TYPE_CHECKING:
    from gdino_lightning.inference.words import Phrases


def given_phrases(text: str | None) -> "Phrases | None":
    """Return what to look for: the text, or what a YAML file says.

    Args:
        text: `cat . red dog`, or the name of a YAML file with a list, `class: wording` lines, or a configuration with
            `model.phrases`, as `gdino phrases` writes it.

    Raises:
        ConfigError: The file is missing or no YAML of a known form.
        PromptError: YAML reads a phrase as something else than text.
    """
    if text is None or not text.lower().endswith((".yaml", ".yml")):
        return text
    from gdino_lightning.cli.phrase_check import check_texts, load_strict, read_text

    path = Path(text)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a YAML file with a list of phrases or `class: wording` lines")
    written = load_strict(read_text(path), str(path))
    model: object = written.get("model") if isinstance(written, Mapping) else None
    if isinstance(model, Mapping) and "phrases" in model:
        written = model["phrases"]
    if not isinstance(written, list | Mapping) or not written:
        raise ConfigError(f"{path}: is neither a list of phrases nor `class: wording` lines; write one of them")
    check_texts(written, str(path))
    return written
