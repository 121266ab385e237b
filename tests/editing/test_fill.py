"""OpenCV continues what is around the mask."""

import numpy as np
import pytest

from gdino_lightning.editing.fill import METHODS, OpenCvFill
from gdino_lightning.errors import ConfigError


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [np.s_[10:30, 12:40], np.s_[0:9, 0:14], np.s_[30:40, 50:60]], ids=str)
def test_an_object_on_a_constant_background_leaves_that_constant(method, place):
    background = np.full((40, 60, 3), (200, 30, 117), np.uint8)
    picture, mask = background.copy(), np.zeros((40, 60), np.uint8)
    picture[place] = np.random.default_rng(0).integers(0, 256, picture[place].shape)
    mask[place] = 255
    before = picture.copy()
    assert np.array_equal(OpenCvFill(method)(picture, mask), background)
    assert np.array_equal(picture, before)


def test_what_the_mask_only_touches_is_filled_too():
    """A feathered pixel is a mixture, so its new part must not be the old object."""
    picture, mask = np.full((20, 20, 3), 90, np.uint8), np.zeros((20, 20), np.uint8)
    picture[8:12, 8:12], mask[8:12, 8:12] = 255, 1
    assert (OpenCvFill()(picture, mask) == 90).all()


@pytest.mark.parametrize("method", METHODS)
def test_what_was_there_leaves_no_trace(method):
    picture, mask = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8), np.zeros((50, 70), np.uint8)
    mask[12:30, 20:55] = 255
    other = picture.copy()
    other[12:30, 20:55] = 255 - other[12:30, 20:55]
    fill = OpenCvFill(method)
    assert np.array_equal(fill(picture, mask), fill(other, mask))


@pytest.mark.parametrize("method", METHODS)
def test_only_the_surroundings_within_the_radius_count(method):
    """With something else further away, and with nothing there, the place is filled alike."""
    picture, mask = np.random.default_rng(2).integers(0, 256, (60, 60, 3), dtype=np.uint8), np.zeros((60, 60), np.uint8)
    mask[25:36, 22:40] = 255
    far = picture.copy()
    far[:10], far[50:], far[:, :8], far[:, 52:] = 0, 255, 9, 99
    near = np.s_[25:36, 22:40]
    fill = OpenCvFill(method, radius=3)
    assert np.array_equal(fill(picture, mask)[near], fill(far, mask)[near])


def test_an_empty_mask_changes_nothing():
    picture = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(OpenCvFill()(picture, np.zeros((9, 9), np.uint8)), picture)


def test_a_prompt_is_refused_because_nothing_can_be_painted():
    with pytest.raises(ConfigError, match="only removes"):
        OpenCvFill()(np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8), "a red scarf")


def test_a_mask_of_the_whole_picture_is_refused():
    with pytest.raises(ConfigError, match="whole picture"):
        OpenCvFill()(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 255, np.uint8))


@pytest.mark.parametrize(("named", "options"), [("method", {"method": "magic"}), ("radius", {"radius": 0})])
def test_settings_that_cannot_be_are_refused_by_name(named, options):
    with pytest.raises(ConfigError, match=named):
        OpenCvFill(**options)
