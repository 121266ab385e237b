"""Blocks and prompts: token ids with the map of phrases, the sub-sentence mask and the positions.

Letters: T text tokens, P phrases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from gdino_lightning.errors import PromptError

DELIMITER = "."
MAX_TOKENS = 256  # tokens of a prompt in the published models
MAX_CHARACTERS = 10_000  # of one text: longer ones are no words, and tokenizing them takes seconds
NUM_SPECIALS = 2  # [CLS] and [SEP], one block each

Span = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """One phrase with its delimiter, or one sentence: what is encoded together.

    Attributes:
        token_ids: Ids of its tokens.
        num_words: How many of them are words; the delimiter follows.
    """

    token_ids: tuple[int, ...]
    num_words: int


@dataclass(frozen=True)
class Prompt:
    """The words for one picture.

    Attributes:
        phrases: P wordings.
        classes: Class index of each phrase.
        caption: The text as it would be written.
        blocks: Token ids of each block; [CLS] and [SEP] are blocks of their own.
        phrase_map: (P, T) bool, True where the token belongs to the phrase; delimiters and specials to none.
        word_mask: (T,) bool, False on [CLS], [SEP] and delimiters.
    """

    phrases: tuple[str, ...]
    classes: tuple[int, ...]
    caption: str
    blocks: tuple[tuple[int, ...], ...]
    phrase_map: Tensor
    word_mask: Tensor

    @cached_property
    def input_ids(self) -> Tensor:
        """(T,) int64 token ids."""
        return torch.tensor([token for block in self.blocks for token in block], dtype=torch.int64)

    @cached_property
    def block_index(self) -> Tensor:
        """(T,) int64 index of each token's block."""
        lengths = torch.tensor([len(block) for block in self.blocks])
        return torch.arange(len(lengths)).repeat_interleave(lengths)

    @cached_property
    def position_ids(self) -> Tensor:
        """(T,) int64, from 0 in each block."""
        return torch.cat([torch.arange(len(block)) for block in self.blocks])

    @cached_property
    def self_attention_mask(self) -> Tensor:
        """(T, T) bool, True where a token may look at another one: within its block only."""
        return self.block_index[:, None] == self.block_index[None, :]

    def as_one_block(self) -> "Prompt":
        """Return the same words without sub-sentence masking: all tokens see one another, positions run through."""
        return replace(self, blocks=(tuple(self.input_ids.tolist()),))


def assemble(
    phrases: Sequence[str],
    classes: Sequence[int],
    caption: str,
    blocks: Sequence[Block],
    specials: tuple[int, int],
    phrase_map: Tensor | None = None,
) -> Prompt:
    """Put blocks between [CLS] and [SEP].

    Args:
        phrases: P wordings.
        classes: Class index of each phrase.
        caption: The text as it would be written.
        blocks: Blocks in the order of the text.
        specials: Ids of [CLS] and [SEP].
        phrase_map: (P, T) bool; by default each phrase is the words of its own block.
    """
    lengths = torch.tensor([1, *(len(block.token_ids) for block in blocks), 1])
    words = torch.tensor([0, *(block.num_words for block in blocks), 0])
    index = torch.arange(len(lengths)).repeat_interleave(lengths)
    positions = torch.arange(len(index)) - (lengths.cumsum(0) - lengths)[index]
    word_mask = positions < words[index]
    if phrase_map is None:
        phrase_map = (index == torch.arange(1, len(blocks) + 1)[:, None]) & word_mask
    first, last = specials
    return Prompt(
        phrases=tuple(phrases),
        classes=tuple(classes),
        caption=caption,
        blocks=((first,), *(block.token_ids for block in blocks), (last,)),
        phrase_map=phrase_map,
        word_mask=word_mask,
    )


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the ids of [CLS] and [SEP]: what the tokenizer puts round a text."""
    first, last = tokenizer.encode("").ids
    return first, last


def encode_words(text: str, tokenizer: Tokenizer) -> Encoding:
    """Tokenize without specials.

    Raises:
        PromptError: If the text spells out a special token such as [SEP], is far longer than a prompt, or holds half of
            a character, as bytes of another encoding on the command line become.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"prompt: {text[:60]!r}... has {len(text):,} characters, a prompt holds {MAX_TOKENS} tokens; shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"prompt: {text!r} holds half of a character; write it in UTF-8") from error
    encoding = tokenizer.encode(text, add_special_tokens=False)
    spelled = {token for token in encoding.tokens if token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")}
    if spelled:
        raise PromptError(f"prompt: {text!r} holds {', '.join(sorted(spelled))}, which the model reserves; reword it")
    return encoding


def check_known(phrase: str, tokens: Sequence[str]) -> None:
    """Refuse a phrase of which the tokenizer knows nothing.

    Raises:
        PromptError: If the phrase has no token, or none but [UNK].
    """
    if all(token == "[UNK]" for token in tokens):
        raise PromptError(
            f"prompt: no word of {phrase!r} is known to the tokenizer; word it in words and letters that it knows, "
            "English is always safe"
        )
