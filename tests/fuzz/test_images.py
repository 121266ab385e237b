"""Pictures: any bytes decode to pixels of the size that the header says, or are refused by name."""

import io

import cv2
import numpy as np
from fuzzing import answer, file_of, fuzz, mutated
from hypothesis import example
from hypothesis import strategies as st
from PIL import Image

from gdino_lightning.data.images import MAX_PIXELS, decode_rgb, oddity, read_size
from gdino_lightning.errors import DatasetError

NAME = "a.png"
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
TOKENS = (
    *(
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"PLTE",
        b"acTL",
        b"eXIf",
        b"\xff\xd8\xff",
        b"\xff\xd9",
        b"\xff\xda",
        b"\xff\xc2",
        b"II*\0",
    ),
    *(b"\0\0\0\1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"RIFF", b"GIF89a", b"BM"),
)


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


GOOD = (
    *(encoded("PNG"), encoded("JPEG"), encoded("JPEG", progressive=True), encoded("BMP"), encoded("GIF")),
    *(encoded("TIFF"), encoded("TIFF", compression="tiff_deflate"), encoded("WEBP"), encoded("WEBP", lossless=True)),
)


def check(data: bytes) -> None:
    path = file_of(data, NAME)
    size = answer(lambda: read_size(path), DatasetError, str(path))
    pixels = answer(lambda: decode_rgb(data, NAME), DatasetError, NAME)
    answer(lambda: oddity(data, NAME), DatasetError, NAME)
    if pixels is not None:
        assert size == pixels.shape[1::-1]
        assert pixels.dtype == np.uint8
        assert pixels.size <= 3 * MAX_PIXELS


@fuzz(st.one_of(st.binary(max_size=200), st.tuples(st.sampled_from(TOKENS), st.binary(max_size=99)).map(b"".join)))
@example(encoded("PNG")[:40])
def test_any_bytes_decode_or_are_refused(data):
    check(data)


@fuzz(mutated(st.sampled_from(GOOD), TOKENS))
def test_a_damaged_picture_decodes_or_is_refused(data):
    check(data)


@fuzz(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.sampled_from((".png", ".bmp", ".tiff")))
def test_pixels_come_back_as_they_were_written(width, height, seed, kind):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = cv2.imencode(kind, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    assert np.array_equal(decode_rgb(data, NAME), pixels)
    assert read_size(file_of(data, NAME)) == (width, height)
