"""The CSV of a split: any bytes are rows or refused by name, and rows come back as they were written."""

import math
from pathlib import PurePosixPath

from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st

from gdino_lightning.data.table import COLUMNS, Row, read_table, write_table
from gdino_lightning.errors import DatasetError
from tests.fuzz.test_voc import labels, names, numbers, odd_texts

HEADER = ",".join(COLUMNS).encode()
GOOD = HEADER + b'\ncat,1,2,20,25,a.png,40,30\n"a ""b"", c",0,-1,0.1,1e3,b.png,40,30\n'
TOKENS = (
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"\r",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"#",
    b"NaN",
    b"1e999",
)

rows = st.builds(Row, labels, st.tuples(*[numbers] * 4), names, st.integers(1, 100_000), st.integers(1, 100_000))


def check(data: bytes) -> None:
    path = file_of(data, "annotations.csv")
    found = answer(lambda: read_table(path), DatasetError, str(path))
    if found is not None:
        assert found
        assert len(set(found)) == len(found)
        assert all(row.label_name.strip() and PurePosixPath(row.image_name).name == row.image_name for row in found)
        assert all(math.isfinite(corner) for row in found for corner in row.box_px)
        assert read_table(file_of(write_table(found), "annotations.csv")) == found


@fuzz(st.binary(max_size=300).flatmap(lambda data: st.sampled_from((data, HEADER + b"\n" + data))))
@example(HEADER + b"\n")
@example(b"\n\0")
@example(b"\n\x01")
def test_any_bytes_are_read_or_refused(data):
    check(data)


@fuzz(mutated(GOOD, TOKENS))
def test_a_damaged_table_is_read_or_refused(data):
    check(data)


@fuzz(
    st.lists(st.lists(odd_texts, min_size=7, max_size=9), max_size=4), st.sampled_from((",", ";", "\t")), st.booleans()
)
def test_odd_cells_are_read_or_refused(cells, mark, quoted):
    def cell(text: str) -> str:
        doubled = text.replace('"', '""')
        return f'"{doubled}"' if quoted else text

    lines = [mark.join(map(cell, line)) for line in [list(COLUMNS), *cells]]
    check("\n".join(lines).encode("utf-8", "surrogatepass"))


@fuzz(st.lists(rows, min_size=1, max_size=6, unique=True))
def test_rows_come_back_as_they_were_written(written):
    assert read_table(file_of(write_table(written), "annotations.csv")) == written
