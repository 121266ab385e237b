import json

import pytest
from tokenizers import Tokenizer, normalizers

from gdino_lightning.model.final_stop import with_final_stop, without_final_stop
from gdino_lightning.model.nano.tokenizer import nano_tokenizer


def normalised(normalizer: normalizers.Normalizer | None) -> Tokenizer:
    tokenizer = nano_tokenizer()
    state = json.loads(tokenizer.to_str())
    state["normalizer"] = None if normalizer is None else json.loads(normalizer.__getstate__())
    return Tokenizer.from_str(json.dumps(state))


@pytest.fixture(
    params=[
        normalizers.BertNormalizer(),
        normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
        None,
    ],
    ids=["one step", "two steps", "no step"],
)
def tokenizer(request) -> Tokenizer:
    return normalised(request.param)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [("red cat", "red cat ."), ("red cat.", "red cat."), ("red cat ?  ", "red cat ?"), ("cat!", "cat ! ."), ("", "")],
)
def test_a_text_without_a_final_stop_gets_one(tokenizer, text, same_as):
    assert with_final_stop(tokenizer).encode(text).ids == tokenizer.encode(same_as).ids


def test_a_stop_is_added_once_and_taken_away_again(tokenizer):
    twice = with_final_stop(with_final_stop(tokenizer))
    assert twice.to_str() == with_final_stop(tokenizer).to_str()
    assert without_final_stop(twice).to_str() == tokenizer.to_str()
    assert without_final_stop(tokenizer).to_str() == tokenizer.to_str()
