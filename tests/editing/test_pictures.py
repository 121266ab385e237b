"""Picture files: what comes back, and what is said to be lost."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from gdino_lightning.editing.pictures import PictureFile, check_output, read_picture, write_mask, write_picture
from gdino_lightning.errors import ConfigError, DatasetError

LOSSLESS = [".png", ".webp", ".tif", ".tiff", ".bmp"]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("ending", LOSSLESS)
def test_lossless_formats_bring_every_byte_back(ending, tmp_path, caplog):
    picture = PictureFile(noise(0, 17, 23, 3))
    write_picture(tmp_path / f"x{ending}", picture)
    assert np.array_equal(read_picture(tmp_path / f"x{ending}").rgb, picture.rgb)
    assert not caplog.records


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_transparency_is_kept_with_the_colours_under_it(ending, tmp_path):
    picture = PictureFile(noise(1, 17, 23, 3), alpha=noise(2, 17, 23) * (noise(3, 17, 23) > 99))
    write_picture(tmp_path / f"x{ending}", picture)
    with Image.open(tmp_path / f"x{ending}") as image:
        stored = np.asarray(image)
    assert np.array_equal(stored[..., :3], picture.rgb)
    assert np.array_equal(stored[..., 3], picture.alpha)
    again = read_picture(tmp_path / f"x{ending}")
    assert np.array_equal(again.alpha, picture.alpha)
    assert np.array_equal(again.rgb, picture.rgb)


@pytest.mark.parametrize("ending", [".jpg", ".bmp"])
def test_transparency_that_a_format_lacks_is_said_to_be_dropped(ending, tmp_path, caplog):
    write_picture(tmp_path / f"x{ending}", PictureFile(noise(4, 8, 8, 3), alpha=np.full((8, 8), 254, np.uint8)))
    assert any("no transparency" in record.getMessage() for record in caplog.records)
    caplog.clear()
    write_picture(tmp_path / f"x{ending}", PictureFile(noise(4, 8, 8, 3), alpha=np.full((8, 8), 255, np.uint8)))
    assert not any("no transparency" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_is_said_to_change_all_pixels(ending, tmp_path, caplog):
    write_picture(tmp_path / f"x{ending}", PictureFile(noise(5, 8, 8, 3)))
    (record,) = caplog.records
    assert "PNG keeps them" in record.getMessage()


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif"])
def test_the_colour_profile_is_kept(ending, tmp_path):
    write_picture(tmp_path / f"x{ending}", PictureFile(noise(6, 8, 8, 3), profile=PROFILE))
    assert read_picture(tmp_path / f"x{ending}").profile == PROFILE


def test_a_profile_of_grey_values_does_not_fit_rgb_and_is_left_out(tmp_path):
    Image.fromarray(noise(7, 8, 8)).save(tmp_path / "x.png", icc_profile=PROFILE)
    read = read_picture(tmp_path / "x.png")
    assert read.profile is None
    assert np.array_equal(read.rgb, np.repeat(noise(7, 8, 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_read_upright_with_its_transparency(orientation, tmp_path):
    """As Pillow turns it."""
    stored = Image.fromarray(noise(8, 12, 20, 4), mode="RGBA")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    read = read_picture(tmp_path / "x.png")
    assert np.array_equal(read.rgb, upright[..., :3])
    assert np.array_equal(read.alpha, upright[..., 3])
    write_picture(tmp_path / "y.png", read)
    with Image.open(tmp_path / "y.png") as image:
        assert not image.getexif()  # it is upright now
        assert np.array_equal(np.asarray(image), upright)


def test_transparent_colours_of_palettes_and_rgb_are_transparency(tmp_path):
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "x.png", transparency=(1, 2, 3))
    assert read_picture(tmp_path / "x.png").alpha.tolist() == [[0, 255]]


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"'.heic'.*\.png"):
        check_output(tmp_path / "x.heic")
    with pytest.raises(ConfigError, match="''"):
        write_picture(tmp_path / "x", PictureFile(noise(9, 8, 8, 3)))


def test_a_picture_too_large_for_its_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="16,383 px"):
        write_picture(tmp_path / "x.webp", PictureFile(noise(10, 1, 16_384, 3)))
    write_picture(tmp_path / "x.png", PictureFile(noise(10, 1, 16_384, 3)))


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(DatasetError, match=r"x\.png"):
        read_picture(tmp_path / "x.png")


def test_a_mask_is_a_grey_png(tmp_path):
    mask = noise(11, 9, 7)
    write_mask(tmp_path / "m.png", mask)
    with Image.open(io.BytesIO((tmp_path / "m.png").read_bytes())) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), mask)
    with pytest.raises(ConfigError, match=r"\.png"):
        write_mask(tmp_path / "m.jpg", mask)
