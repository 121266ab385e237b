"""Zip archives: any bytes are a dataset or refused by name; nothing is written, and what is read is bounded."""

import io
import struct
import zipfile
from functools import partial
from pathlib import Path

from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st
from voc_factory import dataset_files

from gdino_lightning.data.recognise import open_source
from gdino_lightning.errors import DatasetError

NAME = "archive.zip"
TOKENS = (
    *(
        b"PK\3\4",
        b"PK\1\2",
        b"PK\5\6",
        b"PK\6\6",
        b"PK\6\7",
        struct.pack("<I", 2**32 - 1),
        struct.pack("<H", 2**16 - 1),
    ),
    *(b"../../x.png", b"images/", b"\\", b"C:", b"\0\0", b"\x0e\0", b"\x0c\0", b"\x5d\0", b"\xff\xff", b"/etc/passwd"),
)
MOST = 10_000_000  # bytes that the small archives here may grow to


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)  # of a fixed date: the same bytes at each run
    return file.getvalue()


FILES = {"images/a.png": b"A" * 50, "images/b.png": b"B", "annotations/a.xml": b"<annotation/>" * 9, "readme": b"hello"}
GOOD = zipped(FILES)
METHODS = [zipped(FILES, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]

odd_names = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
    st.sampled_from(
        ("../a.png", "/a.png", "C:\\a.png", "images/a.png", "images/A.PNG", "images/x/a.png", "annotations/a.xml")
    ),
    st.sampled_from(
        ("top/images/a.png", "top/annotations/a.xml", "images/", "images//a.png", "images/./a.png", "images/\x00.png")
    ),
)


def read_all(path: Path) -> dict[str, bytes]:
    with open_source(path) as source:
        files = (*source.pictures, *source.annotations)
        return {file.name: answer(partial(source.read, file), DatasetError) or b"" for file in files}


def check(data: bytes) -> None:
    path = file_of(data, NAME)
    found = answer(lambda: read_all(path), DatasetError, NAME)
    assert found is None or sum(map(len, found.values())) <= MOST
    assert [*path.parent.parent.iterdir()] == [path.parent]
    assert not [each for each in path.parent.iterdir() if each.suffix in {".png", ".xml"}]


@fuzz(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda data: b"PK\5\6" + data)))
@example(b"PK\5\6" + bytes(18))
def test_any_bytes_are_read_or_refused(data):
    check(data)


@fuzz(mutated(st.sampled_from((GOOD, *METHODS)), TOKENS))
def test_a_damaged_archive_is_read_or_refused(data):
    check(data)


@fuzz(st.dictionaries(odd_names, st.binary(max_size=20), max_size=6))
def test_odd_names_are_read_or_refused(entries):
    check(zipped(FILES | entries))


@fuzz(st.integers(0, 255), st.binary(max_size=50))
def test_a_whole_archive_gives_its_bytes(fill, data):
    files = dataset_files(2) | {"images/p0.png": data + bytes([fill]) * 50}
    assert read_all(file_of(zipped(files), NAME)) == {name.split("/")[1]: content for name, content in files.items()}
