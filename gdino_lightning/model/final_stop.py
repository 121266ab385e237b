"""A tokenizer that ends every text with a stop, for plain transformers, whose pipeline hands phrases over as they are.

Without a stop at the end transformers isolates the words of a phrase; the official code adds one, too. Our own prompts
bring their stops, so weights that come back get the tokenizer as it was.
"""

import json
from typing import Any

from tokenizers import Tokenizer

# transformers knows the stops "." and "?" only; an empty text stays empty
_FINAL_STOP = {"type": "Replace", "pattern": {"Regex": r"(?<=[^\s.?])\s*\z"}, "content": " ."}


def with_final_stop(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that ends a text without a final "." or "?" with a "."; one that does stays as it is."""
    state = json.loads(tokenizer.to_str())
    return _with_steps(state, [*_steps(state), _FINAL_STOP])


def without_final_stop(tokenizer: Tokenizer) -> Tokenizer:
    """Undo `with_final_stop`; any other tokenizer stays as it is."""
    state = json.loads(tokenizer.to_str())
    return _with_steps(state, _steps(state))


def _steps(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of normalisation without ours."""
    normalizer = state["normalizer"]
    if normalizer is None:
        return []
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    return [step for step in steps if step != _FINAL_STOP]


def _with_steps(state: dict[str, Any], steps: list[dict[str, Any]]) -> Tokenizer:
    normalizer = steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps} if steps else None
    return Tokenizer.from_str(json.dumps({**state, "normalizer": normalizer}))
