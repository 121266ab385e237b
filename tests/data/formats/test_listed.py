import pytest
from formats_factory import A
from voc_factory import write_files

from gdino_lightning.data.formats.listed import PictureFinder
from gdino_lightning.data.tree import open_tree

PATHS = ("train/images/a.png", "val/images/a.png", "val/images/sub/c.png", "b.png", "train2017/d.png", "val2017/d.png")


@pytest.fixture
def find(tmp_path):
    with open_tree(write_files(tmp_path, dict.fromkeys(PATHS, A))) as tree:
        return PictureFinder(tree).find


@pytest.mark.parametrize(
    ("named", "near", "split", "path"),
    [
        ("b.png", "annotations", None, "b.png"),
        ("b.png", "val", "val", "b.png"),
        ("a.png", "train", None, "train/images/a.png"),
        ("a.png", "val", "train", "val/images/a.png"),
        ("train/images/a.png", "val", "val", "train/images/a.png"),
        ("/home/me/old/val/images/a.png", "train", None, "val/images/a.png"),
        (r"C:\data\val\images\a.png", "", None, "val/images/a.png"),
        ("../../images/sub/c.png", "", None, "val/images/sub/c.png"),
        ("d.png", "annotations", "val", "val2017/d.png"),
        ("d.png", "annotations", "train", "train2017/d.png"),
    ],
)
def test_the_picture_that_a_name_means(find, named, near, split, path):
    assert find(named, near, split) == path


@pytest.mark.parametrize("named", ["none.png", "", "..", "../../../etc/passwd", "B.png"])
def test_a_picture_that_is_not_there(find, named):
    with pytest.raises(ValueError, match=r"no picture .*; add the picture or remove its annotation"):
        find(named, "")


def test_a_name_that_fits_two_pictures(find):
    with pytest.raises(ValueError, match=r"'a.png' could be train/images/a.png or val/images/a.png; name its folder"):
        find("a.png", "annotations")
