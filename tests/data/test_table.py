import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdino_lightning.data.table import COLUMNS, Row, read_table, write_table
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
