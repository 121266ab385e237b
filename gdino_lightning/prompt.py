"""Words to tensors: class names, phrases, caption, tokens, the phrase-token map and the sub-sentence mask.

A prompt for the phrases "with mask" and "no mask" is the caption `with mask . no mask .`. Its tokens are
`[CLS] with mask . no mask . [SEP]`. Every phrase and its delimiter form one block; blocks do not see one another in
the text encoder and positions restart in each (Grounding DINO, section 3.4, "sub-sentence level text feature"), so a
phrase means the same whatever its neighbours are. Which token belongs to which phrase follows from the character span
of the phrase in the caption and the tokenizer's own offsets, never from looking for "." tokens: a phrase may hold one.

Letters: T text tokens, P phrases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from gdino_lightning.errors import PromptError

DELIMITER = "."
MAX_TOKENS = 256  # positions a caption may take in the published models


@dataclass(frozen=True)
class Prompt:
    """One caption as tensors, shared by all pictures of a batch.

    Attributes:
        phrases: P wordings, in class order.
        caption: The text that was tokenized.
        input_ids: (T,) int64 token ids, [CLS] first and [SEP] last.
        phrase_map: (P, T) bool, True where the token belongs to the phrase; delimiters and specials to none.
        self_attention_mask: (T, T) bool, True where a token may look at another one: within its block only.
        position_ids: (T,) int64, restarting from 0 in each block.
    """

    phrases: tuple[str, ...]
    caption: str
    input_ids: Tensor
    phrase_map: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor

    def to(self, device: torch.device | str) -> "Prompt":
        """Return the same prompt with its tensors on `device`."""
        return Prompt(
            self.phrases,
            self.caption,
            self.input_ids.to(device),
            self.phrase_map.to(device),
            self.self_attention_mask.to(device),
            self.position_ids.to(device),
        )


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


def build_prompt(phrases: Sequence[str], tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> Prompt:
    """Tokenize phrases into one prompt.

    Args:
        phrases: P wordings, in class order.
        tokenizer: A WordPiece tokenizer that adds [CLS] and [SEP] and reports character offsets.
        max_tokens: Longest caption the text encoder accepts, specials included.

    Raises:
        PromptError: If a phrase is all unknown tokens, or the caption needs more than `max_tokens` tokens.
    """
    caption, spans = _caption(phrases)
    encoding = tokenizer.encode(caption)
    offsets = torch.tensor(encoding.offsets, dtype=torch.int64)
    special = torch.tensor(encoding.special_tokens_mask, dtype=torch.bool)
    phrase_map = torch.stack([_inside(offsets, span) & ~special for span in spans])
    _check_tokens(phrases, phrase_map, encoding.tokens, max_tokens)
    # A block reaches from a phrase's first character to its delimiter, so it ends where the next one begins.
    starts = torch.tensor([start for start, _ in spans])
    block = torch.bucketize(offsets[:, 0].contiguous(), starts, right=True)
    position_ids = torch.zeros(len(offsets), dtype=torch.int64)
    for index in range(1, len(phrases) + 1):
        members = (block == index) & ~special
        position_ids[members] = torch.arange(int(members.sum()))
    same_block = (block[:, None] == block[None, :]) & ~special[:, None] & ~special[None, :]
    return Prompt(
        phrases=tuple(phrases),
        caption=caption,
        input_ids=torch.tensor(encoding.ids, dtype=torch.int64),
        phrase_map=phrase_map,
        self_attention_mask=same_block | torch.eye(len(offsets), dtype=torch.bool),
        position_ids=position_ids,
    )


def _caption(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    caption, spans = "", []
    for phrase in phrases:
        spans.append((len(caption), len(caption) + len(phrase)))
        caption += f"{phrase} {DELIMITER} "
    return caption.rstrip(), spans


def _inside(offsets: Tensor, span: tuple[int, int]) -> Tensor:
    start, end = span
    return (offsets[:, 0] >= start) & (offsets[:, 1] <= end)


def _names_to_pairs(names: Sequence[str]) -> dict[str, str | None]:
    if isinstance(names, str):
        raise PromptError(f"phrases: expected a list or a mapping, got the text {names!r}")
    repeated = sorted({str(name) for name in names if list(names).count(name) > 1})
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


def _check_tokens(phrases: Sequence[str], phrase_map: Tensor, tokens: Sequence[str], max_tokens: int) -> None:
    if len(tokens) > max_tokens:
        room = max_tokens - 2  # the delimiter and [SEP] follow the last phrase
        cut = next(phrase for phrase, row in zip(phrases, phrase_map, strict=True) if row[room:].any())
        raise PromptError(
            f"prompt: {len(tokens)} tokens, the model reads {max_tokens}; {cut!r} is the first phrase that does not "
            "fit: shorten wordings or use fewer classes"
        )
    for phrase, row in zip(phrases, phrase_map, strict=True):
        members = [tokens[i] for i in row.nonzero().flatten().tolist()]
        if all(token == "[UNK]" for token in members):
            raise PromptError(f"prompt: no word of {phrase!r} is known to the tokenizer; word the class in English")
