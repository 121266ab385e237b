import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdino_lightning.data.packed import PACKED_NAME, Packed, read_packed, write_packed

TABLE = b"label_name\n" + 40 * b"cat,1,2,3,4,a.png,40,30\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "annotations.csv").write_bytes(TABLE)
    return tmp_path


def packed(**columns) -> Packed:
    """Three pictures, the second without a box."""
    given = {
        "names": ["a.png", "b.png", "ä.png"],
        "num_bytes": np.array([10, 20, 5_000_000_000]),
        "sizes_px": np.array([(40, 30), (50, 60), (70, 80)], dtype=np.int32),
        "starts": np.array([0, 2, 2, 3]),
        "classes": ["cat", "guide dog"],
        "labels": np.array([1, 0, 1], dtype=np.int32),
        "boxes_px": np.arange(12, dtype=np.float32).reshape(3, 4) / 3,
    }
    return Packed(**{**given, **columns})


def write(folder, **columns):
    write_packed(folder, folder / "annotations.csv", packed(**columns))


def read(folder):
    return read_packed(folder, folder / "annotations.csv")


def test_everything_comes_back(folder):
    write(folder)
    found, told = read(folder), packed()
    assert found.names == told.names
    assert [found.classes[index] for index in found.labels] == ["guide dog", "cat", "guide dog"]
    for column in ("num_bytes", "sizes_px", "starts", "boxes_px"):
        np.testing.assert_array_equal(getattr(found, column), getattr(told, column))
    assert found.boxes_px.dtype == np.float32
    assert found.boxes_px.flags.writeable  # torch warns of arrays that are not


def test_pictures_without_any_box_come_back(folder):
    nothing = {"labels": np.zeros(0, np.int32), "boxes_px": np.zeros((0, 4), np.float32), "classes": []}
    write(folder, starts=np.zeros(4, int), **nothing)
    assert read(folder).boxes_px.shape == (0, 4)


def test_the_same_columns_are_the_same_bytes(folder):
    write(folder)
    first = (folder / PACKED_NAME).read_bytes()
    write(folder)
    assert (folder / PACKED_NAME).read_bytes() == first


def test_a_table_that_has_changed_is_not_this_one(folder):
    write(folder)
    (folder / "annotations.csv").write_bytes(TABLE.replace(b"1,2", b"1,1", 1))
    assert read(folder) is None
    (folder / "annotations.csv").write_bytes(TABLE)
    assert read(folder) is not None


def test_nothing_is_read_where_there_is_nothing(folder):
    assert read(folder) is None
    write(folder)
    (folder / "annotations.csv").unlink()
    assert read(folder) is None


def test_every_damaged_byte_is_noticed_or_does_no_harm(folder, caplog):
    write(folder)
    path = folder / PACKED_NAME
    whole, told = path.read_bytes(), packed()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = read(folder)
        refused += found is None
        if found is not None:
            np.testing.assert_array_equal(found.boxes_px, told.boxes_px)
            assert found.names == told.names
    assert refused > len(whole) / 2
    assert "the table is read instead" in caplog.text


@pytest.mark.parametrize("length", [0, 3, 100, -1])
def test_half_a_file_is_not_read(folder, length):
    write(folder)
    path = folder / PACKED_NAME
    path.write_bytes(path.read_bytes()[:length])
    assert read(folder) is None


def test_another_parquet_file_is_not_read(folder):
    pq.write_table(pa.table({"name": ["a.png"]}), folder / PACKED_NAME)
    assert read(folder) is None


def rewritten(folder, **columns):
    """Write the file with other columns, but the digest of the table."""
    write(folder)
    table = pq.read_table(folder / PACKED_NAME)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), values)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    (folder / PACKED_NAME).write_bytes(buffer.getvalue())


@pytest.mark.parametrize("box", [[1.0, 2.0, 3.0], None, [1.0, 2.0, 3.0, None]], ids=["short", "missing", "hollow"])
def test_boxes_that_are_none_are_not_read(folder, box):
    boxes = [[0.0] * 8, [], box]
    rewritten(folder, boxes_px=pa.array(boxes, pa.list_(pa.float32())))
    assert read(folder) is None


def test_more_boxes_than_the_table_can_name_are_not_read(folder):
    many = pa.array([[0.0] * 40_000_000, [], []], pa.list_(pa.float32()))
    rewritten(folder, boxes_px=many)
    assert (folder / PACKED_NAME).stat().st_size < 100_000
    assert read(folder) is None
