import pytest

from gdino_lightning.errors import PromptError
from gdino_lightning.prompt import class_phrases, name_to_phrase


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
        (["a", "b", "a"], "class 'a' is named"),
        ({"_": ""}, "'_' has an empty wording"),
        ({True: "yes"}, "True is not text"),
        ("mask", "expected a list"),
    ],
)
def test_unusable_classes_are_named(phrases, named):
    with pytest.raises(PromptError, match=named):
        class_phrases(phrases)
