import cv2
import numpy as np
import pytest
from voc_factory import png, write_files

from gdino_lightning.data import pictures
from gdino_lightning.data.packed import PACKED_NAME
from gdino_lightning.data.pictures import pack_split, read_split
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


@pytest.fixture
def large(monkeypatch):
    """Every table is a large one."""
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)


LINES = (LINE, "dog,-3,2,41,30.5,b.png,40,30", "guide dog,1,1,3.25,3,b.png,40,30")


def plain(picture):
    boxes = picture.boxes_px
    return picture.path, picture.width, picture.height, picture.labels, boxes.tolist(), boxes.dtype


def is_equal(ours, theirs) -> bool:
    return [plain(each) for each in ours] == [plain(each) for each in theirs]


def test_a_packed_split_says_what_its_table_says_without_a_look_at_the_pictures(split, large, monkeypatch):
    folder = write_files(split(*LINES), {"images/c.png": png(seed=2)})
    told = read_split(folder)
    pack_split(folder)
    monkeypatch.setattr(pictures, "read_size", lambda _: pytest.fail("a header was read"))
    monkeypatch.setattr(pictures, "scan_table", lambda *_: pytest.fail("the table was read"))
    assert is_equal(read_split(folder), told)
    assert [len(each.labels) for each in told] == [1, 2, 0]


def test_a_table_of_captions_alone_is_packed_without_boxes(split, large):
    folder = split()
    (folder / "captions.jsonl").write_text("")
    told = read_split(folder)
    pack_split(folder)
    assert (folder / PACKED_NAME).is_file()
    assert is_equal(read_split(folder), told)


def test_an_edited_table_and_other_pictures_win_over_what_was_packed(split, large):
    folder = split(*LINES)
    pack_split(folder)
    split(*LINES[:1])
    assert [each.labels for each in read_split(folder)] == [("cat",), ()]
    split(*LINES)
    write_files(folder, {"images/c.png": png(seed=2)})
    assert [each.name for each in read_split(folder)] == ["a.png", "b.png", "c.png"]
    write_files(folder, {"images/b.png": png(50, 60, seed=1)})
    with pytest.raises(DatasetError, match="size 40x30 px, but"):
        read_split(folder)
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"picture 'b\.png' is not in"):
        read_split(folder)


def test_what_was_packed_is_packed_again_only_after_a_change(split, large):
    folder = split(*LINES)
    pack_split(folder)
    first = (folder / PACKED_NAME).stat().st_ino
    pack_split(folder)
    assert (folder / PACKED_NAME).stat().st_ino == first
    split(*LINES[:1])
    pack_split(folder)
    assert (folder / PACKED_NAME).stat().st_ino != first
    assert [each.labels for each in read_split(folder)] == [("cat",), ()]


def test_nothing_is_packed_of_a_small_split_of_one_with_problems_or_of_none(split, monkeypatch, tmp_path):
    folder = split(*LINES)
    pack_split(folder)
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)
    split(*LINES, "cat,1,2,3,4,c.png,40,30")
    pack_split(folder)
    pack_split(tmp_path / "nowhere")
    assert not (folder / PACKED_NAME).exists()


def test_a_split_that_cannot_be_packed_is_read_all_the_same(split, large, caplog):
    folder = split(*LINES)
    (folder / f".{PACKED_NAME}.part").mkdir()  # where it is written first
    pack_split(folder)
    assert "reading this split takes longer" in caplog.text
    assert len(read_split(folder)) == 2
