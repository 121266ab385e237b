import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer

from gdino_lightning.errors import PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt

TOKENIZER = nano_tokenizer()
BERT_WORDS = Path(__file__).parents[2].parent / "shared" / "data" / "bert-base-uncased" / "vocab.txt"


def tokens(prompt):
    return [TOKENIZER.id_to_token(i) for i in prompt.input_ids.tolist()]


def test_two_phrases_hand_written():
    prompt = build_prompt(["with mask", "no mask"], TOKENIZER)
    assert prompt.caption == "with mask . no mask ."
    assert tokens(prompt) == ["[CLS]", "with", "mask", ".", "no", "mask", ".", "[SEP]"]
    assert prompt.phrase_map.int().tolist() == [[0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0]]
    assert prompt.position_ids.tolist() == [0, 0, 1, 2, 0, 1, 2, 0]
    blocks = [[0], [1, 2, 3], [4, 5, 6], [7]]
    wanted = torch.zeros(8, 8, dtype=torch.bool)
    for block in blocks:
        wanted[torch.tensor(block)[:, None], torch.tensor(block)] = True
    assert torch.equal(prompt.self_attention_mask, wanted)


@pytest.mark.parametrize(
    "phrase",
    [
        "St. Bernard",
        "no. 1 part",
        "what?",
        "face-mask, blue",
        "HELMET 2",
        "Café Señor",
        "маска",
        ". ?",
        "spectacled bear " * 20,
    ],
)
def test_a_phrase_may_hold_any_sign_and_stays_one_block(phrase):
    prompt = build_prompt(["mask", phrase, "with mask"], TOKENIZER)
    alone = TOKENIZER.encode(phrase, add_special_tokens=False).ids
    members = prompt.phrase_map[1].nonzero().flatten()
    assert prompt.input_ids[members].tolist() == alone
    assert prompt.position_ids[members].tolist() == list(range(len(alone)))
    assert prompt.self_attention_mask[members[0]].sum() == len(alone) + 1  # and its delimiter
    assert prompt.phrase_map.sum(0).max() == 1  # no token belongs to two phrases


def test_a_phrase_inside_another_keeps_its_own_tokens():
    prompt = build_prompt(["mask", "with mask", "without mask"], TOKENIZER)
    assert prompt.phrase_map.sum(1).tolist() == [1, 2, 2]
    assert (prompt.phrase_map.int() @ prompt.phrase_map.int().T).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 2]]


@given(st.lists(st.text("abc .?-,XÉ9ж", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6))
def test_maps_partition_the_tokens(texts):
    by_ids = {tuple(TOKENIZER.encode(text).ids): " ".join(text.split()) for text in texts}
    phrases = list(by_ids.values())
    prompt = build_prompt(phrases, TOKENIZER)
    wanted = [TOKENIZER.encode(phrase, add_special_tokens=False).ids for phrase in phrases]
    got = [prompt.input_ids[row].tolist() for row in prompt.phrase_map]
    assert got == wanted
    assert len(prompt.input_ids) == sum(map(len, wanted)) + len(phrases) + 2


def test_word_mask_leaves_out_specials_and_delimiters_only():
    prompt = build_prompt(["no. 1 part", "what?"], TOKENIZER)
    assert [token for token, word in zip(tokens(prompt), prompt.word_mask, strict=True) if not word] == [
        "[CLS]",
        ".",
        ".",
        "[SEP]",
    ]


def test_as_one_block_is_plain_bert():
    prompt = build_prompt(["with mask", "no mask"], TOKENIZER).as_one_block()
    assert prompt.self_attention_mask.all()
    assert prompt.position_ids.tolist() == list(range(8))
    assert prompt.input_ids.tolist() == TOKENIZER.encode("with mask . no mask .").ids


def test_tokens_are_those_of_the_whole_caption():
    prompt = build_prompt(["St. Bernard", "Café, señor!", "x-ray no. 12?"], TOKENIZER)
    assert prompt.input_ids.tolist() == TOKENIZER.encode(prompt.caption).ids


@pytest.mark.shared
@pytest.mark.skipif(not BERT_WORDS.exists(), reason="needs ../shared/data/bert-base-uncased")
@pytest.mark.parametrize(
    "phrase",
    [
        "St. Bernard",
        "no. 1 part",
        "what?",
        "Café Señor",
        "кошка",
        "日本",
        "ماسک",
        "한국어",
        "naïve-bayes, 3.5 m",
        "a" * 60,
    ],
)
def test_any_phrase_with_the_vocabulary_of_bert(phrase):
    tokenizer = BertTokenizer(str(BERT_WORDS)).backend_tokenizer
    prompt = build_prompt(["mask", phrase, "with mask"], tokenizer)
    alone = tokenizer.encode(phrase, add_special_tokens=False).ids
    assert prompt.input_ids[prompt.phrase_map[1]].tolist() == alone
    assert prompt.input_ids.tolist() == tokenizer.encode(prompt.caption).ids
    assert prompt.phrase_map.sum(0).max() == 1


@pytest.mark.shared
@pytest.mark.skipif(not BERT_WORDS.exists(), reason="needs ../shared/data/bert-base-uncased")
def test_the_example_in_the_contributing_page_is_what_the_code_does():
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    prompt = build_prompt(["with mask", "no mask", "St. Bernard"], BertTokenizer(str(BERT_WORDS)).backend_tokenizer)
    rows = {line.split()[0]: line.split()[1:] for line in page.splitlines() if line.startswith(("block ", "position "))}
    assert rows["position"] == [str(position) for position in prompt.position_ids.tolist()]
    blocks = [
        "-" if row.sum() == 1 else str(int(index))
        for row, index in zip(prompt.self_attention_mask, prompt.block_index, strict=True)
    ]
    assert rows["block"] == blocks
    lines = [line for line in page.splitlines() if re.match(r"\S+ +([x.] ){12}", f"{line} ")]
    mask = [[mark == "x" for mark in line.split()[1:13]] for line in lines]
    assert mask == prompt.self_attention_mask.tolist()
    maps = [re.search(r"map \d +(.*)", line) for line in page.splitlines()]
    assert [[mark == "x" for mark in found[1].split()] for found in maps if found] == prompt.phrase_map.tolist()


@pytest.mark.parametrize(
    ("phrase", "says"),
    [("\udcff", "holds half of a character"), ("x " * 5_001, r"has 10,00\d characters, .*; shorten it")],
)
def test_a_phrase_that_no_tokenizer_should_see_is_refused(phrase, says):
    with pytest.raises(PromptError, match=says):
        build_prompt([phrase], TOKENIZER)
