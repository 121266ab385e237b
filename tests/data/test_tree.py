import io
import os
import stat
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from voc_factory import write_files

from gdino_lightning.data.recognise import open_source
from gdino_lightning.errors import DatasetError

FILES = {
    "images/b.png": b"B",
    "images/a.jpg": b"A",
    "annotations/a.xml": b"<a/>",
    "annotations/b.XML": b"<b/>",
}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    def write(files: dict[str, bytes] | bytes):
        path = tmp_path / "archive.zip"
        path.write_bytes(files if isinstance(files, bytes) else zipped(files))
        return path

    return write


@pytest.fixture(params=["folder", "zip"])
def dataset(request, tmp_path, archive):
    """Writes a dataset as a folder and as a zip archive."""

    def write(files: dict[str, bytes]):
        (tmp_path / "folder").mkdir(exist_ok=True)
        return archive(files) if request.param == "zip" else write_files(tmp_path / "folder", files)

    return write


def refused(path) -> str:
    with pytest.raises(DatasetError) as raised, open_source(path):
        pass
    return str(raised.value)


def test_files_are_listed_by_the_bytes_of_their_names_and_read(dataset):
    with open_source(dataset(FILES)) as source:
        assert [file.name for file in source.pictures] == ["a.jpg", "b.png"]
        assert [file.name for file in source.annotations] == ["a.xml", "b.XML"]
        assert [source.read(file) for file in source.pictures] == [b"A", b"B"]
        assert source.annotations[0].where.endswith("/annotations/a.xml")
        assert source.pictures[0].stem == "a"


def test_clutter_is_ignored_and_other_files_are_told(dataset):
    clutter = {
        "__MACOSX/images/._a.jpg": b"x",
        "images/.DS_Store": b"x",
        "annotations/._a.xml": b"x",
        "README.md": b"x",
        "other/c.png": b"x",
        "images/notes.txt": b"x",
    }
    with open_source(dataset({**FILES, **clutter})) as source:
        assert len(source.pictures) == len(source.annotations) == 2
        assert source.ignored == ("images/notes.txt",)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"JPEGImages/a.jpg": b"A"}, "found JPEGImages/ (1 files)"),
        ({"images/a.jpg": b"A"}, "found images/ (1 files)"),
        ({"a.jpg": b"A"}, "found 1 .jpg"),
        ({}, "found nothing"),
        ({"x/y/z/images/a.jpg": b"A", "x/y/z/annotations/a.xml": b""}, "found x/ (2 files)"),
        ({"images/a.png": b"A", "annotations/a.txt": b""}, "found annotations/ (1 files), images/ (1 files)"),
    ],
)
def test_other_layouts_are_refused_with_the_accepted_ones(dataset, files, text):
    message = refused(dataset(files))
    assert text in message
    assert "accepted: a folder or .zip archive" in message


def test_annotations_without_pictures_are_refused(dataset):
    assert "nothing usable in images/" in refused(dataset({"images/a.txt": b"A", "annotations/a.xml": b""}))


@pytest.mark.parametrize("around", ["Face Mask/", "VOCdevkit/VOC2012/"])
def test_a_dataset_inside_one_or_two_folders_is_found(dataset, around):
    with open_source(dataset({f"{around}{name}": data for name, data in FILES.items()})) as source:
        assert len(source.pictures) == 2
        assert source.read(source.annotations[0]) == b"<a/>"


def test_several_datasets_are_not_guessed_between(dataset):
    files = {f"{top}/{name}": data for top in ("one", "two") for name, data in FILES.items()}
    assert "several datasets inside (one, two)" in refused(dataset(files))


def test_folders_inside_are_not_lost_silently(dataset):
    assert "images/" in refused(dataset({**FILES, "images/more/c.png": b"C"}))


def test_names_that_differ_only_in_case_are_refused(dataset):
    assert "'a.JPG' and 'a.jpg' differ only in case" in refused(dataset({**FILES, "images/a.JPG": b"x"}))


def test_a_missing_source_is_named(tmp_path):
    assert refused(tmp_path / "none.zip").endswith("none.zip: no such folder or file; check the path")


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "images/../../evil.png", "/images/evil.png", "images\\evil.png", "C:/images/evil.png"],
)
def test_entries_that_leave_the_archive_are_refused(archive, name):
    assert "the archive is not used" in refused(archive({**FILES, name: b"x"}))


def test_symbolic_links_in_an_archive_are_refused(archive):
    file = io.BytesIO(zipped(FILES))
    link = zipfile.ZipInfo("images/c.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    assert "'images/c.png' is a symbolic link" in refused(archive(file.getvalue()))


def test_encrypted_entries_are_refused(archive):
    data = bytearray(zipped(FILES))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(signature) + offset] |= 1
    assert "is encrypted" in refused(archive(bytes(data)))


def test_an_entry_that_appears_twice_is_refused(archive):
    file = io.BytesIO(zipped(FILES))
    with zipfile.ZipFile(file, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("images/b.png", b"other")
    assert "'images/b.png' appears twice" in refused(archive(file.getvalue()))


def test_zip_bombs_are_refused_unread(archive):
    assert "zip bomb" in refused(archive({**FILES, "images/c.png": bytes(150_000_000)}))
    data = bytearray(zipped(FILES))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 4_000_000_000)
    assert "unpacks to more than" in refused(archive(bytes(data)))


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>404</html>", zipped(FILES)[:-30], zipped(FILES)[:40]],
    ids=["empty", "a page", "cut at its end", "cut at its start"],  # bytes of an archive hold the time: no names
)
def test_what_is_no_archive_is_refused(archive, data):
    assert "no zip archive, or a damaged one" in refused(archive(data))


def test_damaged_entries_are_named(archive):
    data = zipped({**FILES, "images/c.png": b"picture" * 9}, method=zipfile.ZIP_STORED)
    with open_source(archive(data.replace(b"picturepicture", b"pictuREpicture", 1))) as source:
        with pytest.raises(DatasetError, match=r"images/c\.png: damaged in the archive"):
            source.read(source.pictures[-1])
        assert source.read(source.pictures[0]) == b"A"


def test_an_entry_with_damaged_compression_is_named(archive):
    data = bytearray(zipped(FILES, zipfile.ZIP_LZMA))
    data[data.index(b"images/b.png") + len("images/b.png") + 4] = 0xFF  # the first property of LZMA
    with open_source(archive(bytes(data))) as source, pytest.raises(DatasetError, match=r"b\.png: damaged in the arch"):
        source.read(source.pictures[1])


def test_an_entry_without_a_name_is_refused(archive):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr(zipfile.ZipInfo("\0"), b"x")  # a name ends at a NUL character
    assert "entry '' has no name" in refused(archive(file.getvalue()))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_read_or_refused(archive, patches):
    data = bytearray(zipped(FILES))
    for place, value in patches:
        data[place % len(data)] = value
    try:
        with open_source(archive(bytes(data))) as source:
            read = [source.read(file) for file in (*source.pictures, *source.annotations)]
    except DatasetError as error:
        assert "archive.zip" in str(error)  # noqa: PT017 (either way is right)
    else:
        assert read


def test_links_inside_a_dataset_work_and_links_out_of_it_do_not(tmp_path):
    folder = write_files(tmp_path / "data", FILES)
    (folder / "images" / "c.png").symlink_to(folder / "images" / "b.png")
    with open_source(folder) as source:
        assert source.read(source.pictures[-1]) == b"B"
    outside = write_files(tmp_path, {"secret.png": b"secret"}) / "secret.png"
    (folder / "images" / "d.png").symlink_to(outside)
    assert "link that leaves the dataset" in refused(folder)


@pytest.mark.parametrize("kind", ["broken link", "loop", "pipe"])
def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path, kind):
    folder = write_files(tmp_path / "data", FILES)
    entry = folder / "images" / "c.png"
    if kind == "pipe":
        os.mkfifo(entry)
    else:
        entry.symlink_to(entry if kind == "loop" else folder / "none.png")
    assert "not a plain file" in refused(folder)


def test_file_names_with_control_characters_are_refused(dataset):
    assert "file name" in refused(dataset({**FILES, "images/c\n.png": b"x"}))


def test_a_file_that_vanishes_is_named(tmp_path):
    folder = write_files(tmp_path / "data", FILES)
    with open_source(folder) as source:
        (folder / "images" / "a.jpg").unlink()
        with pytest.raises(DatasetError, match=r"a\.jpg: cannot be read"):
            source.read(source.pictures[0])


def test_a_folder_with_a_line_break_in_its_name_is_told_in_one_line(archive):
    with (
        pytest.raises(DatasetError, match=r"^.*found 'a\\nb'/ .1 files., images/ .1 files.; .*$") as raised,
        open_source(archive({"a\nb/x": b"x", "images/a.jpg": b"A"})),
    ):
        pass
    assert len(str(raised.value).splitlines()) == 1


def test_a_name_that_is_no_utf_8_before_a_files_bytes_is_damage(archive):
    data = bytearray(zipped({**FILES, "images/\N{LATIN SMALL LETTER E WITH ACUTE}.png": b"E"}))
    data[data.index("\N{LATIN SMALL LETTER E WITH ACUTE}".encode()) + 1] = ord("x")  # the directory at the end is whole
    with open_source(archive(bytes(data))) as source:
        (file,) = (each for each in source.pictures if not each.name.isascii())
        with pytest.raises(DatasetError, match=r"damaged in the archive .*can't decode.*; download it again"):
            source.read(file)
