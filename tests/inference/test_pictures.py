import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gdino_lightning.errors import DatasetError
from gdino_lightning.inference.pictures import as_pixels, read_upright, read_upright_size, to_stored, turn_upright

RGB = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
ALL = range(1, 9)


def with_orientation(orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_file_is_turned_as_pillow_turns_it(tmp_path, orientation, kind):
    path = tmp_path / "a.png"
    path.write_bytes(with_orientation(orientation, kind))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    rgb, found = read_upright(path)
    assert found == (1 if kind == "TIFF" else orientation)  # every decoder turns TIFF itself
    np.testing.assert_array_equal(rgb, expected)
    assert read_upright_size(path) == (expected.shape[1], expected.shape[0])
    np.testing.assert_array_equal(as_pixels(str(path)), expected)
    np.testing.assert_array_equal(as_pixels(Image.open(path)), expected)


@pytest.mark.parametrize("orientation", ALL)
def test_boxes_go_back_to_where_the_pixels_were_stored(orientation):
    stored = np.zeros((24, 36, 3), np.uint8)
    stored[5:9, 20:31] = 255
    upright = turn_upright(stored, orientation)
    rows, columns = np.nonzero(upright[..., 0])
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    height, width = upright.shape[:2]
    assert to_stored(torch.tensor([box]).float(), width, height, orientation).tolist() == [[20, 5, 31, 9]]
    assert to_stored(torch.zeros(0, 4), width, height, orientation).shape == (0, 4)


@pytest.mark.parametrize("value", [0, 9, 6000])
def test_an_orientation_that_means_nothing_is_upright(tmp_path, value):
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = value
    image.save(tmp_path / "a.png", exif=exif)
    assert read_upright(tmp_path / "a.png")[1] == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_no_reason_to_refuse_a_picture(tmp_path):
    data = io.BytesIO()
    Image.fromarray(RGB).save(data, "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff garbage")
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    assert read_upright(tmp_path / "a.jpg")[0].shape == RGB.shape


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK"])
def test_pillow_pictures_of_every_mode_become_rgb(mode):
    image = Image.fromarray(RGB).convert("L" if mode == "LA" else "RGB").convert(mode)
    np.testing.assert_array_equal(as_pixels(image), np.asarray(image.convert("RGB")))


def test_alpha_is_dropped_and_not_blended():
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 3, np.uint8)])
    np.testing.assert_array_equal(as_pixels(Image.fromarray(rgba)), RGB)


def test_sixteen_bit_grey_keeps_its_contrast_in_files_and_in_pillow(tmp_path):
    deep = np.random.default_rng(1).integers(0, 65536, (8, 12), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    expected = np.repeat(deep[..., None] / 257, 3, axis=2)
    np.testing.assert_allclose(as_pixels(tmp_path / "a.png"), expected, atol=1)
    np.testing.assert_allclose(as_pixels(Image.open(tmp_path / "a.png")), expected, atol=1)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4), np.uint8), r"not \(4, 4\) uint8"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (7, "not int"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "mode F"),
    ],
)
def test_other_things_are_refused_in_one_line(picture, says):
    with pytest.raises(DatasetError, match=says):
        as_pixels(picture)


def test_a_huge_picture_is_refused_by_its_size():
    huge = np.broadcast_to(np.zeros(3, np.uint8), (20_000, 20_000, 3))  # takes no memory
    with pytest.raises(DatasetError, match="scale it down"):
        as_pixels(huge)
