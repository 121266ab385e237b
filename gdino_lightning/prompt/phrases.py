"""Class names to wordings: what the user calls a class, and what the model reads."""

from collections import Counter
from collections.abc import Mapping, Sequence

from gdino_lightning.errors import PromptError


def name_to_phrase(class_name: str) -> str:
    """Word a class name as text: underscores become spaces, white space is trimmed and folded."""
    return " ".join(class_name.replace("_", " ").split())


def class_phrases(phrases: Mapping[str, str | None] | Sequence[str]) -> dict[str, str]:
    """Return class name -> wording, in class order.

    Args:
        phrases: Either class names, or class name -> wording, where an empty wording means `name_to_phrase`.

    Raises:
        PromptError: If there is no class, a name is not text, or a wording is empty or used twice.
    """
    pairs = dict(phrases) if isinstance(phrases, Mapping) else _names_to_pairs(phrases)
    if not pairs:
        raise PromptError("phrases: no class is named; give `class_name: wording` for each class to detect")
    wordings = {}
    for name, wording in pairs.items():
        for text in (name, "" if wording is None else wording):
            if not isinstance(text, str):
                raise PromptError(
                    f"phrases: {text!r} is not text; put quotes round it (YAML reads yes and no as booleans)"
                )
        wordings[name] = " ".join((wording or name_to_phrase(name)).split())
    _check_wordings(wordings)
    return wordings


def _names_to_pairs(names: Sequence[str]) -> dict[str, str | None]:
    if isinstance(names, str):
        raise PromptError(f"phrases: expected a list or a mapping, got the text {names!r}")
    repeated = sorted(repr(name) for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise PromptError(f"phrases: class {', '.join(repeated)} is named more than once")
    return dict.fromkeys(names)


def _check_wordings(wordings: Mapping[str, str]) -> None:
    by_wording: dict[str, str] = {}
    for name, wording in wordings.items():
        if not wording:
            raise PromptError(f"phrases: class {name!r} has an empty wording; give it at least one word")
        other = by_wording.setdefault(wording.lower(), name)
        if other != name:
            raise PromptError(
                f"phrases: classes {other!r} and {name!r} share the wording {wording!r}; the model could not tell "
                "them apart: word one of them differently"
            )
