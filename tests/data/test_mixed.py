import math

import pytest
from voc_factory import png, write_files

from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.mixed import MixedSet, read_mixed
from gdino_lightning.errors import ConfigError, DatasetError, Problems

CAPTION = '{"image_name": "c.png", "caption": "a big dog", "phrases": [{"spans": [[0, 9]], "boxes": [[1, 2, 9, 9]]}]}\n'


@pytest.fixture
def root(tmp_path):
    lines = [",".join(COLUMNS), "dog,1,2,20,25,a.png,40,30", "guide_dog,1,1,3,3,a.png,40,30"]
    files = {f"train/images/{name}.png": png(seed=seed) for seed, name in enumerate("abc")}
    table = ("\n".join(lines) + "\n").encode()
    write_files(tmp_path / "more", {**files, "train/annotations.csv": table, "train/captions.jsonl": CAPTION.encode()})
    return tmp_path / "more"


def read(root, **settings):
    problems = Problems(root)
    found = read_mixed(MixedSet(str(root), **settings), problems)
    problems.check()
    return found


def test_classes_are_those_of_the_table_in_words_unless_they_are_worded(root):
    found = read(root, weight=0.25)
    assert (found.classes, found.phrases, found.weight) == (["dog", "guide_dog"], ("dog", "guide dog"), 0.25)
    worded = read(root, phrases={"guide_dog": "dog in a harness", "dog": None, "cat": "cat"})
    assert (worded.classes, worded.phrases) == (["guide_dog", "dog", "cat"], ("dog in a harness", "dog", "cat"))
    assert read(root, phrases=["dog", "guide_dog"]).phrases == ("dog", "guide dog")


def test_negatives_are_asked_for_the_classes_and_captioned_pictures_for_their_text(root):
    found = read(root)
    assert [picture.name for picture in found.pictures] == ["a.png", "b.png"]
    assert [caption.name for caption in found.captions] == ["c.png"]


def test_a_set_of_captions_alone_has_no_classes(root):
    (root / "train" / "annotations.csv").write_text(",".join(COLUMNS) + "\n")
    found = read(root)
    assert (found.classes, found.phrases, found.pictures) == ([], (), [])
    assert len(found.captions) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"phrases": {"dog": "dog"}}, "labels guide_dog have no wording in data.mix"),
        ({"phrases": {"dog": "dog", "guide_dog": "Dog"}}, "share the wording"),
        ({"phrases": {True: "dog"}}, "is not text"),
    ],
)
def test_what_does_not_fit_names_the_set(root, settings, said):
    with pytest.raises(DatasetError, match=said) as raised:
        read(root, **settings)
    assert str(root) in str(raised.value)


@pytest.mark.parametrize("weight", [0, -1, 1.5, math.nan, math.inf])
def test_weights_are_shares(weight):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        MixedSet("more", weight=weight)


def test_a_folder_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"train/annotations\.csv: no such table; data\.mix wants folders"):
        read(tmp_path)
