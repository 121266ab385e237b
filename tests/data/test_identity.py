"""Anything that training would notice of its data changes what is kept of it; where it lies does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prepared_factory import write_split

from gdino_lightning.data.grounding import GroundedPicture
from gdino_lightning.data.identity import check_same_data, identity_of
from gdino_lightning.data.pictures import Picture, read_split
from gdino_lightning.errors import DatasetError
from gdino_lightning.prompt import Caption


@pytest.fixture
def pictures(tmp_path) -> list[Picture]:
    write_split(tmp_path / "train", {"a.png": [("cat", (1, 2, 20, 25))], "b.png": []})
    return read_split(tmp_path / "train")


def captioned(picture: Picture, text: str) -> GroundedPicture:
    size = (picture.width, picture.height)
    return GroundedPicture(picture.path, *size, np.zeros((0, 4), np.float32), (), Caption(text, (((0, 3),),)), "line 1")


def test_it_counts(pictures):
    found = identity_of(pictures, [captioned(pictures[1], "two dogs")])
    assert (found["pictures"], found["captions"], found["boxes"]) == (2, 1, 1)


def test_another_folder_is_the_same_data(pictures, tmp_path):
    shutil.copytree(tmp_path / "train", tmp_path / "moved")
    assert identity_of(read_split(tmp_path / "moved"), []) == identity_of(pictures, [])


def test_every_change_is_noticed(pictures):
    first, second = pictures
    before = identity_of(pictures, [captioned(second, "two dogs")])
    others = [
        ([second, first], "two dogs"),
        ([replace(first, labels=("dog",)), second], "two dogs"),
        ([replace(first, boxes_px=first.boxes_px + 1), second], "two dogs"),
        ([replace(first, width=41), second], "two dogs"),
        (pictures, "two cats"),
    ]
    for changed, text in others:
        with pytest.raises(DatasetError, match=r"^data: not the data that the checkpoint was trained on"):
            check_same_data(before, identity_of(changed, [captioned(second, text)]), "data")
    check_same_data(before, identity_of(pictures, [captioned(second, "two dogs")]), "data")


def test_other_bytes_of_a_picture_are_noticed(pictures):
    before = identity_of(pictures, [])
    with Path(pictures[0].path).open("ab") as file:
        file.write(b"more")
    assert identity_of(pictures, []) != before


def test_what_a_stranger_wrote_is_other_data(pictures):
    with pytest.raises(DatasetError, match=r"then None pictures, None boxes, now 2 pictures, 1 boxes"):
        check_same_data({}, identity_of(pictures, []), "data")
