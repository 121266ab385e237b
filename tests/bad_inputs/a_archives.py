"""Beside the catalogue, A: archives, which `prepare` reads without unpacking them."""

import io
import stat
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from voc_factory import dataset_files

from tests.bad_inputs.case import DATASET_PICTURES, Case, Handled, Refused

ZIPPED = ("prepare", "--source", "data.zip", "--root", "out", "--num_train", "3")
_LEAVES = r"^data\.zip: entry '.+' {}; the archive is not used"


def zipped(files: Mapping[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these files, in their order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return file.getvalue()


def archive(data: bytes) -> Callable[[], object]:
    """Writes these bytes as data.zip."""
    return partial(Path("data.zip").write_bytes, data)


def _with_entry(name: str, data: bytes = b"x") -> Callable[[], object]:
    """An archive with a dataset and one more entry."""
    return archive(zipped({**dataset_files(DATASET_PICTURES), name: data}))


def _with_link() -> None:
    link = zipfile.ZipInfo("images/q.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive(zipped(dataset_files(DATASET_PICTURES)))()
    with zipfile.ZipFile("data.zip", "a") as opened:
        opened.writestr(link, "/etc/passwd")


def _damaged_picture() -> bytes:
    data = zipped(dataset_files(DATASET_PICTURES), zipfile.ZIP_STORED)
    place = data.index(b"IDAT") + 100
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


CASES = [
    *(
        Case(code, f"an archive entry {name}", _with_entry(name), Refused(_LEAVES.format(message)), ZIPPED)
        for code, name, message in (
            ("A01", "../q.png", 'leaves the archive by "\\.\\."'),
            ("A02", "/images/q.png", "is an absolute path or has a backslash or drive letter"),
            ("A02", "C:/images/q.png", "is an absolute path or has a backslash or drive letter"),
        )
    ),
    Case("A03", "an archive with a link", _with_link, Refused(_LEAVES.format("is a symbolic link")), ZIPPED),
    Case(
        "A04",
        "a zip bomb",
        _with_entry("images/q.png", bytes(150_000_000)),
        Refused(r"^data\.zip: would unpack [\d,]+ bytes to [\d,]+: refused as a zip bomb"),
        ZIPPED,
    ),
    Case(
        "A05",
        "an archive with a folder among its pictures",
        _with_entry("images/more/q.png"),
        Refused(r"^data\.zip/images/more: images/ holds a folder; put its files directly into it"),
        ZIPPED,
    ),
    Case(
        "A05",
        "an archive with its dataset in a folder",
        archive(zipped({f"Face Mask/{name}": data for name, data in dataset_files(DATASET_PICTURES).items()})),
        Handled("skipped    nothing"),
        ZIPPED,
    ),
    *(
        Case(
            code,
            says,
            archive(data),
            Refused(r"^data\.zip: no zip archive, or a damaged one \(.+\); download it"),
            ZIPPED,
        )
        for code, says, data in (
            ("A06", "an archive cut short", zipped(dataset_files(DATASET_PICTURES))[:-30]),
            ("A07", "a web page as an archive", b"<html>404</html>"),
            ("A07", "an empty archive file", b""),
        )
    ),
    Case(
        "A06",
        "an archive with a damaged entry",
        archive(_damaged_picture()),
        Refused(
            r"^  data\.zip/images/p0\.png: damaged in the archive \(.+\); download it again", "1 x unreadable picture"
        ),
        ZIPPED,
    ),
]
