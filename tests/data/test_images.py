import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from gdino_lightning.data.images import decode_rgb, oddity, read_rgb, read_size
from gdino_lightning.errors import DatasetError

RGB = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def save(tmp_path):
    def write(data: bytes, name: str = "a.png"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_pictures_come_back_as_rgb(save, kind):
    path = save(encoded(Image.fromarray(RGB), kind))
    pixels = read_rgb(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RGB)
    assert read_size(path) == (36, 24)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_pictures_come_back_close_and_in_rgb_order(save, kind):
    image = np.zeros((24, 36, 3), np.uint8)
    image[..., 0] = 250  # red
    pixels = read_rgb(save(encoded(Image.fromarray(image), kind, quality=95)))
    np.testing.assert_allclose(pixels, image, atol=12)


def test_alpha_is_dropped(save):
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(read_rgb(save(encoded(Image.fromarray(rgba), "PNG"))), RGB)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_become_eight(save, channels):
    deep = np.random.default_rng(1).integers(0, 65536, (8, 12, channels), dtype=np.uint16)
    ok, data = cv2.imencode(".png", deep)
    assert ok
    expected = np.repeat(deep, 3, axis=2) if channels == 1 else deep[..., 2::-1]
    np.testing.assert_allclose(read_rgb(save(data.tobytes())), expected / 257, atol=1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_grey_and_palette_become_rgb(save, mode):
    image = Image.fromarray(RGB).convert("L" if mode == "LA" else mode).convert(mode)
    np.testing.assert_array_equal(read_rgb(save(encoded(image, "PNG"))), np.asarray(image.convert("RGB")))


def test_exif_orientation_is_ignored(save):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = save(encoded(Image.fromarray(RGB), "JPEG", exif=exif))
    assert read_size(path) == (36, 24)
    assert read_rgb(path).shape == (24, 36, 3)


def test_the_kind_is_told_by_the_content_not_the_suffix(save):
    assert read_rgb(save(encoded(Image.fromarray(RGB), "JPEG"), "really_a_jpeg.png")).shape == (24, 36, 3)


def test_trailing_bytes_are_harmless(save):
    for kind in ("PNG", "JPEG"):
        data = encoded(Image.fromarray(RGB), kind)
        np.testing.assert_array_equal(decode_rgb(data + b"trailing", "a"), decode_rgb(data, "a"))


def test_a_jpeg_with_a_thumbnail_inside_is_read_whole_and_refused_when_cut():
    thumbnail = encoded(Image.fromarray(RGB[:8, :8]), "JPEG")
    segment = b"\xff\xed" + struct.pack(">H", len(thumbnail) + 2) + thumbnail  # APP13: opaque to the decoder
    data = encoded(Image.fromarray(RGB), "JPEG")
    data = data[:2] + segment + data[2:]
    assert decode_rgb(data, "a.jpg").shape == (24, 36, 3)
    with pytest.raises(DatasetError, match=r"a\.jpg: the JPEG is cut short"):
        decode_rgb(data[:-40], "a.jpg")


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow's, before our error
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_truncated_pictures_are_refused_by_name(save, kind, part):
    data = encoded(Image.fromarray(RGB), kind)
    path = save(data[: int(len(data) * part)])
    with pytest.raises(DatasetError, match=r"a\.png: "):
        read_rgb(path)


def test_a_flipped_bit_in_a_png_is_refused(save):
    data = bytearray(encoded(Image.fromarray(RGB), "PNG"))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(DatasetError, match="damaged"):
        read_rgb(save(bytes(data)))


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\0" * 500])
def test_what_is_no_picture_is_refused(save, data):
    path = save(data)
    for read in (read_rgb, read_size):
        with pytest.raises(DatasetError, match=r"a\.png: "):
            read(path)


def test_float_pictures_are_refused(save):
    data = encoded(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(DatasetError, match=r"a\.png: "):
        read_rgb(save(data))


@pytest.mark.parametrize("side", [20_000, 100_000])
def test_bombs_are_refused_from_the_header(save, side):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path = save(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    for read in (read_rgb, read_size):
        with pytest.raises(DatasetError, match="scale the picture down"):
            read(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        for read in (read_rgb, read_size):
            with pytest.raises(DatasetError, match="cannot be read"):
                read(path)


def test_what_is_unlike_its_name_or_not_seen_is_told():
    image = Image.fromarray(RGB)
    assert oddity(encoded(image, "PNG"), "a.PNG") == ""
    assert oddity(encoded(image, "JPEG"), "a.jpeg") == ""
    assert oddity(encoded(image, "WEBP"), "a.tif") == "a.tif is a WEBP in truth"
    several = encoded(image, "TIFF", save_all=True, append_images=[image])
    assert oddity(several, "a.tif") == "a.tif has several frames, the first is used"
    with pytest.raises(DatasetError, match=r"a\.png: not a picture"):
        oddity(b"", "a.png")


def test_a_small_picture_with_a_vast_frame_is_refused():
    data = bytearray(encoded(Image.new("RGB", (4, 3)), "GIF") * 2)
    place = data.index(b",\0\0\0\0\4\0\3\0")  # where the frame lies, and its size
    data[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(DatasetError, match=r"^a\.gif: "):
        oddity(bytes(data), "a.gif")
