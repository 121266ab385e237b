import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voc_factory import png, write_files

from gdino_lightning.data.table import COLUMNS, Row, read_split, read_table, write_table
from gdino_lightning.errors import DatasetError

HEADER = ",".join(COLUMNS)
LINE = "cat,1,2,20,25,a.png,40,30"


@pytest.fixture
def table(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "annotations.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def split(tmp_path, table):
    """A split with pictures a.png and b.png of 40x30 px and the given lines."""

    def write(*lines: str):
        table("\n".join([HEADER, *lines]) + "\n")
        return write_files(tmp_path, {"images/b.png": png(seed=1), "images/a.png": png(seed=0)})

    return write


def refused(path) -> str:
    with pytest.raises(DatasetError) as raised:
        read_table(path)
    assert str(raised.value).startswith(str(path))
    return str(raised.value).removeprefix(str(path))


def test_the_columns_are_the_published_ones():
    assert HEADER == "label_name,bbox_x1,bbox_y1,bbox_x2,bbox_y2,image_name,image_width,image_height"


def test_the_bytes_of_a_table():
    rows = [
        Row("with_mask", (79.0, 105.0, 401.0, 142.5), "a.png", 400, 267),
        Row('a "b", c', (0.0, -1.0, 0.1, 1e3), "b.png", 40, 30),
    ]
    assert (
        write_table(rows)
        == (f'{HEADER}\nwith_mask,79,105,401,142.5,a.png,400,267\n"a ""b"", c",0,-1,0.1,1000,b.png,40,30\n').encode()
    )


def test_pandas_reads_the_table_with_whole_numbers_as_such(table):
    frame = pd.read_csv(table(write_table([Row("cat", (1.0, 2.0, 3.0, 4.0), "a.png", 40, 30)])))
    assert list(frame.columns) == list(COLUMNS)
    assert str(frame["bbox_x1"].dtype) == "int64"


def test_rows_come_back_in_order_with_their_lines(table):
    rows = read_table(table(f"{HEADER}\n{LINE}\n\ndog,1,2,3.5,4,b.png,40,30\n"))
    assert rows == [
        Row("cat", (1.0, 2.0, 20.0, 25.0), "a.png", 40, 30),
        Row("dog", (1.0, 2.0, 3.5, 4.0), "b.png", 40, 30),
    ]
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + f"{HEADER}\n{LINE}\n",
        f"{HEADER}\r\n{LINE}\r\n",
        f"{HEADER}\n{LINE}",
        f"{HEADER}\n{LINE}\n{LINE}\n",
        "note," + ",".join(reversed(COLUMNS)) + "\nx,30,40,a.png,25,20,2,1,cat\n",
    ],
    ids=["byte order mark", "CRLF", "no final newline", "repeated row", "other order and further column"],
)
def test_tables_written_by_other_programs_are_read(table, text):
    assert read_table(table(text)) == [Row("cat", (1.0, 2.0, 20.0, 25.0), "a.png", 40, 30)]


@pytest.mark.parametrize("label", ["NA", "None", "null", "nan", "01", "1.0", "True", "no. 1 part", 'say "a, b"'])
def test_labels_stay_text(table, label):
    rows = [Row(label, (1.0, 2.0, 3.0, 4.0), "0001.png", 40, 30)]
    assert read_table(table(write_table(rows))) == rows


@settings(max_examples=60, deadline=None)
@given(
    label=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1),
    name=st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\:"), min_size=1),
    box=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4),
)
def test_every_row_comes_back(tmp_path_factory, label, name, box):
    rows = [Row(label, box, name + ".png", 40, 30)]
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    path.write_bytes(write_table(rows))
    assert read_table(path) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": empty file"),
        ("\n\n", ": empty file"),
        (f"{HEADER}\n", ": no row below the header"),
        (f"{LINE}\n{LINE}\n", ":1: no header"),
        (f"{HEADER.replace(',bbox_y2', '')}\ncat,1,2,3,a.png,40,30\n", ":1: column bbox_y2 is missing"),
        (f"{HEADER},bbox_x1\n{LINE},1\n", ":1: column bbox_x1 appears twice"),
        (f"{HEADER}\n{LINE}\n".replace(",", ";"), ":1: looks like semicolons"),
        (f"{HEADER}\n{LINE}\n".replace(",", "\t"), ":1: looks like tabs"),
        (f"{HEADER}\n{LINE},7\n", ":2: 9 fields, the header has 8"),
        (f"{HEADER}\n{LINE}\nwith, mask,1,2,3,4,a.png,40,30\n", ":3: 9 fields"),
        (f"{HEADER}\n{LINE}\ncat,1,2,3\n", ":3: bbox_y2 is empty"),
        (f'{HEADER}\n{LINE}\n"cat,1,2,3,4,a.png,40,30\n', ":3: a quote is opened"),
        (f"{HEADER}\n,1,2,3,4,a.png,40,30\n", ":2: label_name is empty"),
        (f"{HEADER}\ncat,1,2,nan,4,a.png,40,30\n", ":2: bbox_x2 is 'nan'"),
        (f'{HEADER}\ncat,1,2,"1,000",4,a.png,40,30\n', ":2: bbox_x2 is '1,000'"),
        (f"{HEADER}\ncat,1,2,3,4,../a.png,40,30\n", ":2: image_name is '../a.png'"),
        (f"{HEADER}\ncat,1,2,3,4,a.png,40.5,30\n", ":2: image_width is '40.5'"),
        (f'{HEADER}\n"two\nlines",1,2,3,4,a.png,40,30\ncat,1,2,x,4,a.png,40,30\n', ":4: bbox_x2 is 'x'"),
    ],
)
def test_unusable_tables_name_the_line(table, text, message):
    assert refused(table(text)).startswith(message)


def test_other_encodings_are_refused(table):
    text = f"{HEADER}\n{LINE}\nmüll,1,2,3,4,a.png,40,30\n"
    assert refused(table(text.encode("latin-1"))).startswith(":3: is not UTF-8")
    assert refused(table(text.encode("utf-16"))).startswith(":1: is UTF-16")


def test_a_missing_table_names_the_remedy(tmp_path):
    assert "gdino prepare" in refused(tmp_path / "annotations.csv")


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
