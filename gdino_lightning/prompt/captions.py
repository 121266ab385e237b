"""Free captions: a sentence with phrases at character spans, masked by sentence.

Letters: T text tokens, P phrases.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from gdino_lightning.errors import PromptError
from gdino_lightning.prompt.blocks import (
    DELIMITER,
    MAX_CHARACTERS,
    MAX_TOKENS,
    Block,
    Prompt,
    Span,
    assemble,
    check_known,
    encode_words,
    special_ids,
)

# A stop ends a sentence where white space or the end follows: not in "3.5 m" or "J.Smith".
_SENTENCE_END = re.compile(r"[.?!]+(?=\s|$)|[。？！]+")  # noqa: RUF001  # full-width stops are meant


@dataclass(frozen=True)
class Caption:
    """A free text and where its phrases stand in it.

    Attributes:
        text: For example `a man in a red coat behind two dogs`.
        spans: For each of P phrases one or more (start, end) character spans, `((0, 5),)` for "a man". Phrases may
            overlap.

    Raises:
        PromptError: If the text is empty or far longer than a prompt, there is no phrase, a span is empty, blank or
            outside of the text, or two phrases are the same spans.
    """

    text: str
    spans: tuple[tuple[Span, ...], ...]

    def __post_init__(self) -> None:
        """Check text and spans."""
        if not self.text.strip():
            raise PromptError("caption: the text is empty")
        if len(self.text) > MAX_CHARACTERS:
            raise PromptError(
                f"caption {self.text[:60]!r}...: {len(self.text):,} characters, at most {MAX_CHARACTERS:,} are read; "
                "shorten it"
            )
        if not self.spans or not all(self.spans):
            raise PromptError(f"caption {self.text!r}: every phrase needs at least one (start, end) span")
        for start, end in (span for spans in self.spans for span in spans):
            if not (0 <= start < end <= len(self.text)) or not self.text[start:end].strip():
                raise PromptError(
                    f"caption {self.text!r}: span ({start}, {end}) marks no word of its {len(self.text)} characters"
                )
        seen: set[frozenset[Span]] = set()
        for index, spans in enumerate(self.spans):
            if frozenset(spans) in seen:
                raise PromptError(
                    f"caption {self.text!r}: the phrase {self.phrases[index]!r} at {spans} is given twice"
                )
            seen.add(frozenset(spans))

    @property
    def phrases(self) -> tuple[str, ...]:
        """P wordings; parts that stand apart are joined by a space."""
        return tuple(" ".join(self.text[start:end] for start, end in spans) for spans in self.spans)


def build_caption_prompt(caption: Caption, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> Prompt:
    """Tokenize a caption; each of its sentences is one block, and the phrases are what its spans cover.

    A sentence ends at ".", "?" or "!" before white space or the end, unless a phrase covers that stop: "St. Bernard"
    as a phrase stays whole. A caption without a final stop gets one, as in the published models.

    Args:
        caption: Text and spans.
        tokenizer: A WordPiece tokenizer that adds [CLS] and [SEP] and reports character offsets.
        max_tokens: Longest prompt, specials included.

    Raises:
        PromptError: If the caption needs more than `max_tokens` tokens or a phrase has no known word.
    """
    blocks, offsets, tokens = [], [(0, 0)], ["[CLS]"]
    for start, end in _sentences(caption):
        sentence = caption.text[start:end]
        stopped = _SENTENCE_END.search(sentence[-1:]) is not None
        encoding = encode_words(sentence if stopped else f"{sentence} {DELIMITER}", tokenizer)
        blocks.append(Block(tuple(encoding.ids), _num_words(encoding)))
        offsets += [(first + start, last + start) for first, last in encoding.offsets]
        tokens += encoding.tokens
    if len(tokens) + 1 > max_tokens:
        raise PromptError(
            f"caption: {len(tokens) + 1} tokens, a prompt holds {max_tokens}; shorten {caption.text[:60]!r}..."
        )
    places = torch.tensor([*offsets, (0, 0)])
    # a delimiter that was added lies behind the text, [CLS] and [SEP] are empty: no span touches them
    phrase_map = torch.stack([_touched(places, spans) for spans in caption.spans])
    for phrase, row in zip(caption.phrases, phrase_map, strict=True):
        check_known(phrase, [tokens[i] for i in row.nonzero().flatten().tolist()])
    classes = range(len(caption.spans))
    prompt = assemble(caption.phrases, classes, caption.text, blocks, special_ids(tokenizer), phrase_map)
    # a stop that a phrase covers, as in "Main St." at the end, is one of its words
    return replace(prompt, word_mask=prompt.word_mask | phrase_map.any(0))


def _sentences(caption: Caption) -> list[Span]:
    """Character spans of the sentences, each with its stop."""
    inside = [span for spans in caption.spans for span in spans]
    sentences, begin = [], 0
    for stop in _SENTENCE_END.finditer(caption.text):
        covered = any(start <= place < end for start, end in inside for place in range(*stop.span()))
        if not covered and caption.text[begin : stop.start()].strip():
            sentences.append((begin, stop.end()))
            begin = stop.end()
    if caption.text[begin:].strip():
        sentences.append((begin, len(caption.text)))
    return sentences


def _num_words(encoding: Encoding) -> int:
    """Tokens before the final stop of a sentence."""
    count = len(encoding.tokens)
    while count > 1 and _SENTENCE_END.fullmatch(encoding.tokens[count - 1]):
        count -= 1
    return count


def _touched(places: Tensor, spans: Sequence[Span]) -> Tensor:
    """(T,) bool, True on tokens that share a character with a span; a span may begin or end within a word piece."""
    first, last = places.unbind(1)
    return torch.stack([(first < end) & (last > start) for start, end in spans]).any(0)
