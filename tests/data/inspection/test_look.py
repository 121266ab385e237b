import hashlib

import pytest
from voc_factory import png

from gdino_lightning.data.inspection.look import look_at
from gdino_lightning.errors import DatasetError

BOX = ("cat", (1, 2, 20, 25))


def test_every_picture_is_looked_at_with_its_boxes_negatives_among_them(add_split):
    root = add_split("train", {"a.png": [BOX, ("dog", (3, 4, 9, 9))], "b.png": []})
    add_split("test", {"a.png": [BOX]})
    looks = look_at(root, progress=False)
    assert [(look.place, look.labels) for look in looks] == [
        ("train/images/a.png", ["cat", "dog"]),
        ("train/images/b.png", []),
        ("test/images/a.png", ["cat"]),
    ]
    assert looks[0].size == (40, 30)
    assert looks[0].sha256 == hashlib.sha256((root / "train/images/a.png").read_bytes()).hexdigest()
    assert looks[0].place_of(looks[0].rows[1]) == "train/annotations.csv:3 (a.png, dog)"
    assert {look.problem for look in looks} == {""}


def test_one_split_is_enough(add_split):
    assert len(look_at(add_split("test", {"a.png": [BOX]}), progress=False)) == 1


def test_what_cannot_be_read_is_told_and_not_raised(add_split):
    damaged = {"cut.png": png()[:500], "page.png": b"<html>"}
    root = add_split("train", {"good.png": [BOX], "gone.png": [BOX], "cut.png": [BOX], "page.png": [BOX]}, damaged)
    (root / "train/images/gone.png").unlink()
    looks = {look.path.name: look for look in look_at(root, progress=False)}
    assert sorted(looks) == ["cut.png", "gone.png", "good.png", "page.png"]
    assert looks["good.png"].problem == ""
    for name in ("cut.png", "gone.png", "page.png"):
        assert looks[name].problem.startswith(f"train/images/{name}: ")
        assert (looks[name].size, looks[name].small) == (None, None)
        assert looks[name].labels == ["cat"]


def test_files_that_are_no_pictures_are_left_alone(add_split):
    root = add_split("train", {"a.png": [BOX]})
    (root / "train/images/.hidden.png").write_bytes(b"")
    (root / "train/images/notes.txt").write_text("")
    assert len(look_at(root, progress=False)) == 1


@pytest.mark.parametrize("exists", [False, True])
def test_a_root_without_tables_names_what_is_missing(tmp_path, exists):
    root = tmp_path / "root"
    if exists:
        root.mkdir()
    with pytest.raises(DatasetError, match=r"root: has neither train/annotations.csv nor .*`gdino prepare`"):
        look_at(root, progress=False)


def test_a_table_that_cannot_be_read_names_the_line(add_split):
    root = add_split("train", {"a.png": [BOX]})
    table = root / "train/annotations.csv"
    table.write_text(table.read_text().replace(",20,", ",x,"))
    with pytest.raises(DatasetError, match=r"annotations.csv:2: bbox_x2 is 'x'"):
        look_at(root, progress=False)
