import cv2
import numpy as np
import pytest
from voc_factory import png, write_files

from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.table import COLUMNS
from gdino_lightning.errors import DatasetError

LINE = "cat,1,2,20,25,a.png,40,30"


@pytest.fixture
def split(tmp_path):
    """A split with pictures a.png and b.png of 40x30 px and the given lines."""

    def write(*lines: str):
        (tmp_path / "annotations.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
        return write_files(tmp_path, {"images/b.png": png(seed=1), "images/a.png": png(seed=0)})

    return write


def test_a_split_has_its_pictures_in_byte_order_with_negatives(split):
    folder = split("dog,1,2,3,4,b.png,40,30", "cat,5,6,7,8,b.png,40,30")
    a, b = read_split(folder)
    assert (a.name, a.path, a.width, a.height) == ("a.png", folder / "images" / "a.png", 40, 30)
    assert a.boxes_px.shape == (0, 4)
    assert a.labels == ()
    assert b.labels == ("dog", "cat")
    np.testing.assert_array_equal(b.boxes_px, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert a.boxes_px.dtype == b.boxes_px.dtype == np.float32


def test_boxes_are_clipped_when_loaded(split):
    a, _ = read_split(split("cat,-3,2,41,30.5,a.png,40,30"))
    np.testing.assert_array_equal(a.boxes_px, [[0, 2, 40, 30]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat,1,2,3,4,c.png,40,30", "picture 'c.png' is not in"),
        ("cat,1,2,3,4,a.png,30,40", "size 30x40 px, but"),
        ("cat,40,2,50,4,a.png,40,30", "outside the picture"),
        ("cat,9,2,3,4,a.png,40,30", "swapped"),
        ("cat,3,2,3,4,a.png,40,30", "no area"),
    ],
)
def test_rows_that_do_not_fit_their_picture_are_refused(split, line, message):
    folder = split(LINE, line)
    with pytest.raises(DatasetError, match=message) as raised:
        read_split(folder)
    assert str(raised.value).startswith(f"{folder / 'annotations.csv'}:3: ")


def test_missing_or_damaged_pictures_are_refused(split, tmp_path):
    folder = split(LINE)
    (folder / "images" / "b.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"b\.png: not a picture"):
        read_split(folder)
    for path in (folder / "images").iterdir():
        path.unlink()
    (folder / "images").rmdir()
    with pytest.raises(DatasetError, match="images: cannot be read"):
        read_split(folder)


def test_files_that_are_no_pictures_are_not_negatives(split):
    folder = split(LINE)
    write_files(folder, {"images/.a.png": b"", "images/Thumbs.db": b"", "images/c.PNG": png(seed=2)})
    assert [picture.name for picture in read_split(folder)] == ["a.png", "b.png", "c.PNG"]


def test_loading_does_not_decode(split, monkeypatch):
    folder = split(LINE)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert len(read_split(folder)) == 2
