"""Which tokenizer a file of weights gets."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from official_files import write_words

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.convert.words import BERT_WORDS, find_tokenizer
from gdino_lightning.model.nano.tokenizer import nano_tokenizer, vocabulary

BERT = Path(__file__).parents[4] / "shared" / "data" / "bert-base-uncased"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_a_tokenizer_beside_the_file_is_its_own(tmp_path):
    write_words(tmp_path)
    found = find_tokenizer(tmp_path / "x.pth", len(vocabulary()))
    assert found.encode("a red cup .").ids == nano_tokenizer().encode("a red cup .").ids


def test_a_tokenizer_of_other_weights_is_refused(tmp_path):
    write_words(tmp_path)
    with pytest.raises(CheckpointError, match=r"its tokenizer has 1,673 words, x\.pth has 30,522"):
        find_tokenizer(tmp_path / "x.pth", BERT_WORDS)


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="the tokenizer there cannot be read"):
        find_tokenizer(tmp_path / "x.pth", 5)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("words", "says"), [(BERT_WORDS, "HF_HUB_OFFLINE is set"), (77, "know 77 words")])
def test_without_a_tokenizer_the_way_out_is_named(tmp_path, words, says):
    with pytest.raises(CheckpointError, match=says) as caught:
        find_tokenizer(tmp_path / "x.pth", words)
    assert "put its tokenizer.json or vocab.txt beside x.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.shared
@pytest.mark.parametrize("folder", [".", "bert-base-uncased"])
def test_berts_vocabulary_beside_the_file_is_enough(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    shutil.copy(BERT / "vocab.txt", tmp_path / folder / "vocab.txt")
    found = find_tokenizer(tmp_path / "x.pth", BERT_WORDS)
    # ids of the published vocabulary: [CLS] with mask . [SEP]
    assert found.encode("With mask .").ids == [101, 2007, 7308, 1012, 102]
