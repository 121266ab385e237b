"""Prompts from any text: refused in one line, or every phrase has its own tokens and sees no other one."""

from pathlib import Path

import pytest
import torch
from fuzzing import answer, fuzz
from hypothesis import example
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import BertTokenizer

from gdino_lightning.errors import PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Caption, Prompt, Vocabulary, build_caption_prompt, build_prompt, class_phrases

NANO = nano_tokenizer()
SPECIALS = ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")
words = st.sampled_from(
    ("cat", "red dog", "St. Bernard", "with mask", "без маски", "マスク", "口罩", "ﬁ", "é", "e\u0301", *SPECIALS)
)
texts = st.one_of(
    words,
    st.text(max_size=12),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.text("ab .?!\u00a0\u200b\u0130\u1e9e\ufb03\U0001f637", max_size=20),
)
phrase_lists = st.lists(texts, max_size=6)


def check_blocks(prompt: Prompt) -> None:
    """Tokens see those of their block and no others; specials are blocks of their own."""
    lengths = [len(block) for block in prompt.blocks]
    expected = torch.block_diag(*(torch.ones(length, length, dtype=torch.bool) for length in lengths))
    assert torch.equal(prompt.self_attention_mask, expected)
    assert prompt.position_ids.tolist() == [place for length in lengths for place in range(length)]
    assert lengths[0] == lengths[-1] == 1
    assert not prompt.phrase_map[:, [0, -1]].any()
    assert (prompt.word_mask | ~prompt.phrase_map.any(0)).all()


def check_phrases(phrases: list[str], tokenizer: Tokenizer) -> None:
    prompt = answer(lambda: build_prompt(phrases, tokenizer), PromptError)
    if prompt is None:
        return
    check_blocks(prompt)
    # phrases do not see one another: no token of one may look at a token of another
    seen = prompt.phrase_map.long() @ prompt.self_attention_mask.long() @ prompt.phrase_map.long().T > 0
    assert torch.equal(seen, torch.eye(len(phrases), dtype=torch.bool))
    # the caption as one text, tokenized at once: what lies in a phrase's characters is what its row of the map marks
    whole = tokenizer.encode(prompt.caption)
    assert prompt.input_ids.tolist() == whole.ids
    start = 0
    for phrase, row in zip(phrases, prompt.phrase_map.tolist(), strict=True):
        assert prompt.caption[start : start + len(phrase)] == phrase
        inside = [first < last and start <= first and last <= start + len(phrase) for first, last in whole.offsets]
        assert row == inside
        assert any(row)
        start += len(phrase) + len(" . ")


def check_order(phrases: list[str], order: list[int]) -> None:
    """Another order gives the same blocks and rows in that order."""
    prompt = answer(lambda: build_prompt(phrases, NANO), PromptError)
    if prompt is None:
        return
    chosen = sorted(range(len(phrases)), key=lambda index: order[index % len(order)] * 7 % 11)
    other = build_prompt([phrases[index] for index in chosen], NANO)
    assert other.blocks[1:-1] == tuple(prompt.blocks[1:-1][index] for index in chosen)
    for row, index in enumerate(chosen):
        mine, theirs = other.input_ids[other.phrase_map[row]], prompt.input_ids[prompt.phrase_map[index]]
        assert torch.equal(mine, theirs)


@fuzz(phrase_lists)
@example(["\ud800"])
@example([""])
@example([])
def test_phrases_have_their_own_tokens_or_are_refused(phrases):
    check_phrases(phrases, NANO)


@fuzz(phrase_lists, st.lists(st.integers(0, 10), min_size=1, max_size=6))
def test_another_order_permutes_the_map_alone(phrases, order):
    check_order(phrases, order)


@fuzz(phrase_lists, st.integers(3, 40))
def test_chunks_hold_every_phrase_once(phrases, most):
    chunks = answer(lambda: Vocabulary(phrases, NANO).chunks(most), PromptError)
    if chunks is not None:
        assert sorted(index for chunk in chunks for index in chunk.classes) == list(range(len(phrases)))
        for chunk in chunks:
            assert len(chunk.input_ids) <= most
            assert chunk.phrases == tuple(phrases[index] for index in chunk.classes)
            check_blocks(chunk)


@fuzz(st.one_of(phrase_lists, st.dictionaries(texts, st.none() | texts, max_size=6)))
def test_class_names_have_wordings_or_are_refused(written):
    wordings = answer(lambda: class_phrases(written), PromptError)
    if wordings is not None:
        assert list(wordings) == list(written)
        assert all(wording == " ".join(wording.split()) != "" for wording in wordings.values())
        assert len({wording.lower() for wording in wordings.values()}) == len(wordings)


@st.composite
def captions(draw: st.DrawFn) -> tuple[str, tuple[tuple[tuple[int, int], ...], ...]]:
    text = draw(st.lists(texts, min_size=1, max_size=5).map(" ".join))
    spans = st.tuples(st.integers(-1, len(text) + 1), st.integers(-1, len(text) + 1))
    return text, tuple(map(tuple, draw(st.lists(st.lists(spans, max_size=2), max_size=4))))


@fuzz(captions())
def test_phrases_of_a_caption_have_the_tokens_that_they_touch_or_are_refused(drawn):
    text, spans = drawn
    prompt = answer(lambda: build_caption_prompt(Caption(text, spans), NANO), PromptError)
    if prompt is None:
        return
    check_blocks(prompt)
    whole = NANO.encode(text)  # at once; the blocks may only add a final stop
    ids = prompt.input_ids.tolist()
    assert ids in (whole.ids, [*whole.ids[:-1], NANO.token_to_id("."), whole.ids[-1]])
    for own, row in zip(spans, prompt.phrase_map.tolist(), strict=True):
        touched = [any(first < end and last > start for start, end in own) for first, last in whole.offsets]
        assert [index for index, is_mine in enumerate(row) if is_mine] == [i for i, t in enumerate(touched) if t]


@pytest.mark.shared
def test_phrases_have_their_own_tokens_with_the_words_of_bert():
    vocabulary = Path(__file__).parents[3] / "shared" / "data" / "bert-base-uncased" / "vocab.txt"
    if not vocabulary.is_file():
        pytest.skip(f"{vocabulary} is not there")
    bert = BertTokenizer(str(vocabulary)).backend_tokenizer
    bert.no_truncation()
    bert.no_padding()
    fuzz(phrase_lists)(lambda phrases: check_phrases(phrases, bert))(300)
