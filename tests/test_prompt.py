import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gdino_lightning.errors import PromptError
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt, class_phrases, name_to_phrase

TOKENIZER = nano_tokenizer()


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


@pytest.mark.parametrize("phrase", ["St. Bernard", "no. 1 part", "what?", "face-mask, blue", "MASK", "Café Señor"])
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


@given(st.lists(st.text("abc .?-,XÉ9", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6))
def test_maps_partition_the_tokens(texts):
    phrases = [" ".join(text.split()) for text in texts]
    prompt = build_prompt(phrases, TOKENIZER)
    wanted = [TOKENIZER.encode(phrase, add_special_tokens=False).ids for phrase in phrases]
    got = [prompt.input_ids[row].tolist() for row in prompt.phrase_map]
    assert got == wanted
    assert len(prompt.input_ids) == sum(map(len, wanted)) + len(phrases) + 2


def test_class_phrases_words_names_and_keeps_order():
    assert class_phrases(["without_mask", "a"]) == {"without_mask": "without mask", "a": "a"}
    wording = class_phrases({"mask_weared_incorrect": "mask  worn incorrectly", "with_mask": None})
    assert wording == {"mask_weared_incorrect": "mask worn incorrectly", "with_mask": "with mask"}
    assert name_to_phrase("__a__b ") == "a b"


@pytest.mark.parametrize(
    ("phrases", "named"),
    [
        ([], "no class"),
        ({"a": "mask", "b": "Mask"}, "'a' and 'b'"),
        (["a", "b", "a"], "class a is named"),
        ({"_": ""}, "'_' has an empty wording"),
        ({True: "yes"}, "True is not text"),
        ("mask", "expected a list"),
    ],
)
def test_unusable_classes_are_named(phrases, named):
    with pytest.raises(PromptError, match=named):
        class_phrases(phrases)


def test_unknown_script_and_too_many_tokens_are_named():
    with pytest.raises(PromptError, match="マスク"):
        build_prompt(["mask", "マスク"], TOKENIZER)
    with pytest.raises(PromptError, match=r"8 tokens, the model reads 7; 'no mask' is the first"):
        build_prompt(["with mask", "no mask"], TOKENIZER, max_tokens=7)
    assert len(build_prompt(["with mask", "no mask"], TOKENIZER, max_tokens=8).input_ids) == 8
