import numpy as np
import pytest
import torch

from gdino_lightning.data.canvas import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Sizing,
    canvas_of,
    normalise_on_canvas,
    resize,
    resized_size,
)
from gdino_lightning.errors import ConfigError


@pytest.mark.parametrize(
    ("stored", "short_side", "long_side_max", "expected"),
    [
        ((400, 301), 800, 1333, (1063, 800)),  # 400 * 800 / 301 = 1063.1
        ((301, 400), 800, 1333, (800, 1063)),
        ((400, 267), 800, 1333, (1199, 800)),  # 400 * 800 / 267 = 1198.502
        ((2000, 500), 800, 1333, (1333, 333)),  # the long side decides: 500 * 1333 / 2000 = 333.25
        ((4000, 3000), 800, 1333, (1067, 800)),  # smaller
        ((400, 301), 128, 128, (128, 96)),  # 301 * 128 / 400 = 96.3
        ((5000, 1), 128, 128, (128, 1)),  # never 0
    ],
)
def test_resized_size_by_hand(stored, short_side, long_side_max, expected):
    assert resized_size(*stored, short_side, long_side_max) == expected


def test_canvas_of_rounds_up():
    assert canvas_of(1063, 800, 64) == (1088, 832)
    assert canvas_of(128, 96, 32) == (128, 96)
    assert canvas_of(1, 1, 64) == (64, 64)


def test_canvas_follows_from_the_stored_size():
    assert Sizing(800, 1333, 64).canvas(301, 400) == (832, 1088)
    assert Sizing(128, 128, 32).canvas(400, 267) == (128, 96)  # resized to 128x85


def test_at_keeps_the_ratio_of_the_long_side():
    assert Sizing(800, 1333, 64).at(480) == Sizing(480, 800, 64)


def test_resized_into_keeps_the_aspect_ratio_inside_the_canvas():
    sizing = Sizing(128, 256, 32)
    assert sizing.resized_into(400, 300, (192, 128)) == (171, 128)  # as at rest
    assert sizing.resized_into(400, 100, (192, 128)) == (192, 48)  # 256x64 would leave the canvas


@pytest.mark.parametrize("settings", [(0, 128, 32), (128, 127, 32), (128, 128, 0)])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="long_side_max"):
        Sizing(*settings)


def test_shrinking_averages_areas():
    checkerboard = np.indices((64, 64)).sum(0) % 2 * 200
    rgb = np.repeat(checkerboard[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(resize(rgb, (32, 32)), np.full((32, 32, 3), 100, np.uint8))


def test_normalised_pixels_mask_and_padding():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    pixels, mask = normalise_on_canvas(rgb, (64, 96))
    assert (pixels.dtype, pixels.shape) == (torch.float32, (3, 96, 64))
    expected = (rgb / 255.0 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(pixels[:, :40, :50].permute(1, 2, 0), expected, atol=1e-6)
    assert pixels[:, 40:].abs().max() == 0
    assert pixels[:, :, 50:].abs().max() == 0
    assert mask[:40, :50].all()
    assert mask.sum() == 40 * 50


def test_a_picture_larger_than_its_canvas_is_an_error():
    with pytest.raises(ValueError, match="65x10 px does not fit"):
        normalise_on_canvas(np.zeros((10, 65, 3), np.uint8), (64, 64))
