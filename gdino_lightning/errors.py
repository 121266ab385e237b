"""What a user can get wrong: every error names the file (and line), what is wrong, and the fix."""

from collections.abc import Iterable


class GdinoError(Exception):
    """Base of every error that bad input causes; the command line prints its text and exits with 2."""


class DatasetError(GdinoError):
    """An annotation, a picture, a table or a split cannot be used."""


class PromptError(GdinoError):
    """Class names, wordings or captions cannot be turned into a prompt."""


class CheckpointError(GdinoError):
    """Weights or checkpoints are missing, damaged or of another model."""


class ConfigError(GdinoError):
    """A setting contradicts another one or cannot be met."""


def listed(names: Iterable[str], most: int = 12) -> str:
    """Name the first few of many for a message that is one line: `a, b and 3 more`."""
    known = list(names)
    more = len(known) - most
    return ", ".join(known) if more <= 0 else f"{', '.join(known[:most])} and {more:,} more"
