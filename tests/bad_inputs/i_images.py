"""Catalogue I: pictures, read by `prepare`, `inspect` and `fit`."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from prepared_factory import write_split
from voc_factory import png, voc_xml

from gdino_lightning.data.images import read_rgb
from tests.bad_inputs.case import FIT, INSPECT, Case, Handled, Refused, dataset

CAT = ("cat", (1, 2, 20, 25))
FILE = r"^  data/images/p0\.png: "
LOST = "1 x unreadable picture"
NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
RED = np.full((30, 40, 3), (200, 0, 0), np.uint8)


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _deep(channels: int) -> bytes:
    """A PNG of 16 bits per channel, half as bright as can be."""
    return cv2.imencode(".png", np.full((30, 40, channels), 128 * 257, np.uint16))[1].tobytes()


def _bomb(side: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _turned() -> bytes:
    """A JPEG of 40x30 px that says it should be shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(Image.fromarray(RED), "JPEG", exif=exif)


def _damaged(code: str, says: str, data: bytes, message: str) -> Case:
    return Case(code, says, partial(dataset, {"images/p0.png": data}), Refused(FILE + message, LOST))


def _pixels_are(*rgb: int) -> Callable[[], None]:
    """Checks the colour that a reader of the prepared picture sees."""

    def check() -> None:
        (path,) = Path("out").glob("*/images/p0.png")
        np.testing.assert_allclose(read_rgb(path), np.broadcast_to(rgb, (30, 40, 3)), atol=2)

    return check


def _read(code: str, says: str, data: bytes, *rgb: int, prints: str = "skipped    nothing") -> Case:
    """A picture that is used; `rgb` is its colour."""
    also = _pixels_are(*rgb) if rgb else Handled.also
    return Case(code, says, partial(dataset, {"images/p0.png": data}), Handled(prints, also=also))


def _entry(make: Callable[[Path], object]) -> Callable[[], object]:
    """A dataset with one more entry among its pictures, which `make` makes."""

    def write() -> None:
        make(dataset() / "images" / "q.png")

    return write


def _link_outside(path: Path) -> None:
    Path("secret.png").write_bytes(png())
    path.symlink_to(Path("secret.png").absolute())


def _odd_name(stem: str) -> Callable[[], object]:
    """A dataset whose first picture and annotation have another name."""
    xml = voc_xml(f"{stem}.png", [CAT])
    return partial(
        dataset,
        {
            "images/p0.png": None,
            "annotations/p0.xml": None,
            f"images/{stem}.png": png(),
            f"annotations/{stem}.xml": xml,
        },
    )


def _prepared(pictures: dict[str, bytes]) -> None:
    """A prepared folder whose training pictures, without a box, are these beside a good one."""
    write_split(Path("out/train"), {"good.png": [CAT], **dict.fromkeys(pictures, ())}, pictures)
    write_split(Path("out/test"), {"c.png": [CAT]})


def _prepared_without_a_picture() -> None:
    _prepared({})
    Path("out/train/images/good.png").unlink()


def _solid(width: int, height: int) -> bytes:
    return _encoded(Image.new("RGB", (width, height), "red"))


CUT_JPEG = _encoded(Image.fromarray(NOISE), "JPEG", quality=95)
CASES = [
    Case(
        "I01",
        "a picture of the table that is missing",
        _prepared_without_a_picture,
        Refused(r"^out/train/annotations\.csv:2: picture 'good\.png' is not in out/train/images; run `gdino prepare`"),
        FIT,
    ),
    Case(
        "I02",
        "an annotation without its picture",
        partial(dataset, {"images/p0.png": None}),
        Refused(
            r"^  data/annotations/p0\.xml: no picture 'p0\.png' in images/; add the picture or remove the annotation",
            "1 x annotation without its picture",
        ),
    ),
    Case(
        "I02",
        "a picture without annotation",
        partial(dataset, {"annotations/p0.xml": None}),
        Refused(FILE + r"picture without annotation; add p0\.xml to annotations/", "1 x picture without annotation"),
    ),
    _damaged("I03", "an empty file", b"", "not a picture that can be read"),
    _damaged("I03", "a web page", b"<html>404</html>", "not a picture that can be read"),
    _damaged("I03", "a header alone", b"\x89PNG\r\n\x1a\n", "not a picture that can be read"),
    _damaged(
        "I04", "a PNG cut short", png()[: len(png()) // 2], "damaged or of an unknown kind; save the picture again"
    ),
    _damaged(
        "I05", "a JPEG cut short", CUT_JPEG[: len(CUT_JPEG) // 2], r"the JPEG is cut short \(no end marker\); copy"
    ),
    _damaged(
        "I06",
        "a flipped bit in a PNG",
        png()[:500] + bytes([png()[500] ^ 0x10]) + png()[501:],
        "damaged or of an unknown kind; save the picture again",
    ),
    _damaged("I07", "a PNG without its end", png()[:-12], "damaged or of an unknown kind; save the picture again"),
    _read("I08", "bytes after the end of a PNG", _encoded(Image.fromarray(RED)) + b"trailing", 200, 0, 0),
    _read(
        "I08",
        "bytes after the end of a JPEG",
        _encoded(Image.fromarray(RED), "JPEG") + b"trailing",
        200,
        0,
        0,
        prints="used as decoded",
    ),
    _read("I09", "16 bits per channel with alpha", _deep(4), 128, 128, 128),
    _read("I10", "grey of 16 bits", _deep(1), 128, 128, 128),
    _damaged(
        "I11",
        "a TIFF of floating-point numbers",
        _encoded(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF"),
        ".+; save the picture again",
    ),
    *(
        _read("I12", f"Pillow's mode {mode}", _encoded(Image.new(mode, (40, 30), 1)), *rgb)
        for mode, rgb in (("L", (1, 1, 1)), ("1", (255, 255, 255)))
    ),
    _read("I12", "grey with alpha", _encoded(Image.new("LA", (40, 30), (90, 7))), 90, 90, 90),
    _read("I12", "a palette", _encoded(Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE)), 200, 0, 0),
    _read(
        "I12",
        "a palette with a transparent colour",
        _encoded(Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE), transparency=0),
        200,
        0,
        0,
    ),
    _read("I13", "a transparent picture", _encoded(Image.new("RGBA", (40, 30), (200, 0, 0, 0))), 200, 0, 0),
    _read(
        "I14",
        "a CMYK JPEG",
        _encoded(Image.new("CMYK", (40, 30), (0, 0, 0, 0)), "JPEG"),
        255,
        255,
        255,
        prints="used as decoded",
    ),
    Case(
        "I15",
        "an EXIF orientation, <size> as shown",
        partial(dataset, {"images/p0.png": _turned(), "annotations/p0.xml": voc_xml("p0.png", [CAT], (30, 40))}),
        Refused(
            r"^  data/annotations/p0\.xml: <size> is 30x40 px, the picture has 40x30; swapped\? .*EXIF orientation",
            "1 x size differs from annotation",
        ),
    ),
    _read("I15", "an EXIF orientation, <size> as stored", _turned(), 200, 0, 0, prints="skipped    nothing"),
    _read(
        "I16",
        "a JPEG that is called .png",
        _encoded(Image.fromarray(RED), "JPEG"),
        200,
        0,
        0,
        prints=r"warning    1 picture used as decoded: p0\.png is a JPEG in truth",
    ),
    _damaged("I17", "a bomb of 100,000 x 100,000 px", _bomb(100_000), ".+; scale the picture down"),
    _damaged("I17", "a bomb of 20,000 x 20,000 px", _bomb(20_000), ".+; scale the picture down"),
    Case(
        "I18",
        "pictures of 1x1, 8x8 and 1x5000 px, trained",
        partial(_prepared, {"a.png": _solid(1, 1), "b.png": _solid(8, 8), "c.png": _solid(1, 5000)}),
        Handled("run folder: runs/run", pictures=5, boxes=2),
        FIT,
    ),
    _read(
        "I19",
        "an animation",
        _encoded(Image.fromarray(RED), save_all=True, append_images=[Image.fromarray(NOISE)]),
        200,
        0,
        0,
        prints=r"warning    1 picture used as decoded: p0\.png has several frames, the first is used",
    ),
    Case(
        "I19",
        "a GIF",
        partial(dataset, {"images/q.gif": b"GIF89a"}),
        Handled(r"ignored    1 other file: images/q\.gif"),
    ),
    *(
        Case(
            "I20",
            says,
            _entry(make),
            Refused(r"^data/images/q\.png: not a plain file \(folder, broken link or device\); remove or replace it"),
        )
        for says, make in (
            ("a dangling link", lambda path: path.symlink_to("none.png")),
            ("a pipe", os.mkfifo),
        )
    ),
    Case(
        "I20",
        "a folder",
        _entry(Path.mkdir),
        Refused(r"^data/images/q\.png: images/ holds a folder; put its files directly into it"),
    ),
    Case(
        "I20",
        "a link out of the dataset",
        _entry(_link_outside),
        Refused(r"^data/images/q\.png: link that leaves the dataset; copy the file instead"),
    ),
    Case(
        "I20",
        "a line end in a name",
        partial(dataset, {"images/a\nb.png": png()}),
        Refused(r"^'data/images/a\\nb\.png': file name is 'a\\nb\.png', expected a bare file name .*; rename the file"),
    ),
    Case("I20", "a space and other letters in a name", _odd_name("mañana 口罩"), Handled("skipped    nothing")),
    Case(
        "I20",
        "a picture that became unreadable after `prepare`",
        partial(_prepared, {"a.png": png()[:300]}),
        Handled(
            "warning    1 picture cannot be read and will stop training\n           train/images/a.png: damaged",
            pictures=3,
            boxes=2,
        ),
        INSPECT,
    ),
]
