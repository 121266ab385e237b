"""The words to look for, in the forms in which a user gives them."""

import logging
import re
from collections.abc import Mapping, Sequence

from gdino_lightning.errors import PromptError
from gdino_lightning.prompt import class_phrases

Phrases = str | Sequence[str] | Mapping[str, str | None]

logger = logging.getLogger(__name__)

_DELIMITER = re.compile(r"\s+\.\s+|\s*\.\s*$")  # "St. Bernard . dog ." are two phrases


def read_phrases(phrases: Phrases) -> dict[str, str]:
    """Return name -> wording, in order.

    Args:
        phrases: One text with phrases separated by " . ", a list of wordings, or class name -> wording (None or empty:
            the name, with spaces for underscores). Wordings without a class name are their own name.

    Raises:
        PromptError: There is none, one is empty or no text, or one is given twice.
    """
    if isinstance(phrases, str):
        phrases = [part.strip() for part in _DELIMITER.split(phrases) if part.strip()]
        for phrase in phrases:
            if ". " in phrase:  # "a cat. a dog." is usual elsewhere, and "St. Bernard" is a dog
                logger.warning("%r is one phrase; to part phrases, write ' . ' between them", phrase)
    if isinstance(phrases, Mapping):
        return class_phrases(phrases)
    if not isinstance(phrases, Sequence):
        raise PromptError(f"phrases: expected a text, a list or a mapping, got {type(phrases).__name__}")
    if unreadable := [each for each in phrases if not isinstance(each, str)]:
        raise PromptError(f"phrases: {unreadable[0]!r} is not text; put quotes round it")
    folded = [" ".join(each.split()) for each in phrases]
    if not all(folded):
        raise PromptError("phrases: one of them is empty; leave it out")
    return class_phrases({each: each for each in dict.fromkeys(folded)})
