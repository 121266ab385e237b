import pytest

from gdino_lightning.model.nano.tokenizer import nano_tokenizer, vocabulary


def test_ids_that_transformers_relies_on():
    wanted = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    assert {piece: vocabulary()[piece] for piece in wanted} == wanted
    assert sorted(vocabulary().values()) == list(range(len(vocabulary())))


@pytest.mark.parametrize("text", ["with mask", "Rhinoceros!", "x-ray, no. 12?", "jalapeño {spicy}", "zzyzx 'q' ~9%"])
def test_english_encodes_without_unknown_words(text):
    encoding = nano_tokenizer().encode(text)
    assert "[UNK]" not in encoding.tokens
    assert encoding.tokens[0] == "[CLS]"
    assert encoding.tokens[-1] == "[SEP]"


@pytest.mark.parametrize(
    "text",
    [
        "Señor Łódź",
        "größe",
        "μάσκα",
        "Кошка, чёрная",
        "їжак",
        "מסכה",
        "قناع طبي",
        "ماسک",
        "मास्क",
        "หน้ากาก",
        "マスク プラ",
        "한국어",
    ],
)
def test_other_alphabets_are_spelled_without_unknown_words(text):
    tokens = nano_tokenizer().encode(text, add_special_tokens=False).tokens
    assert "[UNK]" not in tokens
    assert len(tokens) > 1


def test_common_words_are_one_piece():
    assert nano_tokenizer().encode("without mask worn incorrectly", add_special_tokens=False).tokens == [
        "without",
        "mask",
        "worn",
        "incorrectly",
    ]
