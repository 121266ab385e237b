"""The classes of a model as blocks: any choice of them, in any order, becomes a prompt without tokenizing again.

Letters: T text tokens, P phrases, C classes.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from gdino_lightning.errors import PromptError
from gdino_lightning.prompt.blocks import (
    DELIMITER,
    MAX_TOKENS,
    NUM_SPECIALS,
    Block,
    Prompt,
    assemble,
    check_known,
    encode_words,
    special_ids,
)

MAX_ALL_CHARACTERS = 1_000_000  # of all phrases together: twice what the names of ImageNet's 21,000 classes have


class Vocabulary:
    """The phrases of C classes, tokenized once.

    Args:
        phrases: C wordings, in class order.
        tokenizer: A WordPiece tokenizer that adds [CLS] and [SEP] and reports character offsets.

    Raises:
        PromptError: If a phrase is empty or unknown to the tokenizer, or two phrases are the same tokens (the model
            could not tell "Mask" and "mask" apart).
    """

    def __init__(self, phrases: Sequence[str], tokenizer: Tokenizer) -> None:
        self.phrases = tuple(phrases)
        if (characters := sum(map(len, self.phrases))) > MAX_ALL_CHARACTERS:
            raise PromptError(
                f"prompt: {len(self.phrases):,} phrases of {characters:,} characters, at most {MAX_ALL_CHARACTERS:,} "
                "are tokenized; use fewer"
            )
        self._specials = special_ids(tokenizer)
        self._blocks = [_phrase_block(phrase, tokenizer) for phrase in self.phrases]
        first: dict[tuple[int, ...], str] = {}
        for phrase, block in zip(self.phrases, self._blocks, strict=True):
            if block.token_ids in first:
                raise PromptError(
                    f"prompt: {first[block.token_ids]!r} and {phrase!r} are the same to the tokenizer; word one of "
                    "them differently"
                )
            first[block.token_ids] = phrase

    def __len__(self) -> int:
        """Return the number of classes, C."""
        return len(self.phrases)

    def prompt(self, classes: Iterable[int] | None = None) -> Prompt:
        """Return the prompt of some classes, in the order given; of all by default."""
        chosen = tuple(range(len(self)) if classes is None else classes)
        phrases = [self.phrases[index] for index in chosen]
        caption = " ".join(f"{phrase} {DELIMITER}" for phrase in phrases)
        return assemble(phrases, chosen, caption, [self._blocks[index] for index in chosen], self._specials)

    def num_tokens(self, classes: Iterable[int] | None = None) -> int:
        """Count the tokens of their prompt, specials included."""
        chosen = range(len(self)) if classes is None else classes
        return NUM_SPECIALS + sum(len(self._blocks[index].token_ids) for index in chosen)

    def chunks(self, max_tokens: int = MAX_TOKENS) -> list[Prompt]:
        """Pack all classes into few prompts of at most `max_tokens` tokens each.

        First fit, longest phrase first: as few as there can be for any list of short names, and never more than 11/9
        of that (Johnson 1973). Within a prompt classes keep their order.

        Raises:
            PromptError: If a phrase alone is too long.
        """
        self.check_each_fits(max_tokens)
        bins: list[list[int]] = []
        room: list[int] = []
        for index in sorted(range(len(self)), key=lambda i: -len(self._blocks[i].token_ids)):
            length = len(self._blocks[index].token_ids)
            place = next((i for i, free in enumerate(room) if free >= length), len(bins))
            if place == len(bins):
                bins.append([])
                room.append(max_tokens - NUM_SPECIALS)
            bins[place].append(index)
            room[place] -= length
        return [self.prompt(sorted(chosen)) for chosen in sorted(bins, key=min)]

    def sample(
        self, present: Iterable[int], negatives: int | None, max_tokens: int, rng: np.random.Generator
    ) -> Prompt:
        """Draw a training prompt: the classes present and absent ones beside them, shuffled.

        Args:
            present: Classes of the picture. If they alone do not fit, as many as fit are drawn from them.
            negatives: Absent classes to add; None for all that fit.
            max_tokens: Token budget, specials included; every phrase must fit on its own (`chunks` checks it).
            rng: What the draw follows from.
        """
        wanted = [int(index) for index in rng.permutation(sorted(set(present)))]
        absent = np.setdiff1d(np.arange(len(self)), np.array(wanted, dtype=np.int64))
        room = max_tokens - NUM_SPECIALS
        chosen, room = self._fill(wanted, room, len(wanted))
        limit = len(absent) if negatives is None else negatives
        if not chosen:
            limit = max(1, limit)  # a prompt cannot be empty
        added, _ = self._fill([int(index) for index in rng.permutation(absent)], room, limit)
        return self.prompt(int(index) for index in rng.permutation(chosen + added))

    def _fill(self, candidates: Sequence[int], room: int, limit: int) -> tuple[list[int], int]:
        """Take up to `limit` candidates that fit, in their order; return them and the room that is left."""
        taken: list[int] = []
        for index in candidates:
            if len(taken) == limit:
                break
            length = len(self._blocks[index].token_ids)
            if length <= room:
                taken.append(index)
                room -= length
        return taken, room

    def check_each_fits(self, max_tokens: int) -> None:
        """Refuse phrases that are too long for a prompt of their own.

        Raises:
            PromptError: If one is.
        """
        for phrase, block in zip(self.phrases, self._blocks, strict=True):
            if len(block.token_ids) + NUM_SPECIALS > max_tokens:
                raise PromptError(
                    f"prompt: {phrase[:60]!r} needs {len(block.token_ids) + NUM_SPECIALS} tokens, a prompt holds "
                    f"{max_tokens}; shorten it"
                )


def build_prompt(phrases: Sequence[str], tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> Prompt:
    """Tokenize phrases into one prompt.

    Args:
        phrases: P wordings, in class order.
        tokenizer: A WordPiece tokenizer that adds [CLS] and [SEP] and reports character offsets.
        max_tokens: Longest prompt, specials included.

    Raises:
        PromptError: If a phrase is empty, unknown or given twice, or all need more than `max_tokens` tokens together.
    """
    vocabulary = Vocabulary(phrases, tokenizer)
    prompts = vocabulary.chunks(max_tokens)
    if len(prompts) != 1:
        raise PromptError(
            f"prompt: {vocabulary.num_tokens()} tokens, a prompt holds {max_tokens}; use fewer phrases, or "
            "pack them with Vocabulary.chunks"
        )
    return prompts[0]


def _phrase_block(phrase: str, tokenizer: Tokenizer) -> Block:
    encoding = encode_words(f"{phrase} {DELIMITER}", tokenizer)
    num_words = sum(start < len(phrase) for start, _ in encoding.offsets)
    check_known(phrase, encoding.tokens[:num_words])
    return Block(tuple(encoding.ids), num_words)
