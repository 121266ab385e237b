import logging

import pytest

from gdino_lightning.errors import PromptError
from gdino_lightning.inference.words import read_phrases


@pytest.mark.parametrize("text", ["cat . red dog", "cat . red dog .", " cat .  red  dog. ", "cat .\nred dog"])
def test_a_text_is_parted_at_stops_with_space_before_them(text):
    assert read_phrases(text) == {"cat": "cat", "red dog": "red dog"}


def test_a_stop_within_a_phrase_stays():
    assert list(read_phrases("St. Bernard . no. 1 part")) == ["St. Bernard", "no. 1 part"]


def test_a_list_keeps_its_order_and_what_is_repeated_counts_once():
    assert list(read_phrases(["dog", "cat", " dog "])) == ["dog", "cat"]


def test_a_mapping_has_class_names_of_its_own():
    assert read_phrases({"with_mask": None, "bare": "without a mask"}) == {
        "with_mask": "with mask",
        "bare": "without a mask",
    }


@pytest.mark.parametrize("phrases", ["", " . ", [], {}, ["cat", ""], ["cat", 7], 7, ["Cat", "cat"], {"a": 1}])
def test_what_is_no_list_of_phrases_is_refused(phrases):
    with pytest.raises(PromptError):
        read_phrases(phrases)


def test_a_text_that_reads_like_sentences_is_one_phrase_and_says_so(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "propagate", True)
    assert list(read_phrases("a cat. a dog.")) == ["a cat. a dog"]
    assert "'a cat. a dog' is one phrase; to part phrases, write ' . '" in caplog.text
