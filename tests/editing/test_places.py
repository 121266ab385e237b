"""The windows in which places are painted."""

import numpy as np
import pytest

from gdino_lightning.editing.places import LEAST_WINDOW, places, working_size


def mask_with(height: int, width: int, *regions: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for region in regions:
        mask[region] = 9
    return mask


def test_each_separate_region_is_a_place_of_its_own():
    one, two = np.s_[100:140, 100:140], np.s_[300:340, 150:190]
    found = list(places(mask_with(500, 600, one, two), margin=1))
    assert len(found) == 2
    for (window, place), region in zip(found, (one, two), strict=True):
        alone = np.zeros((500, 600), bool)
        alone[window][place] = True
        assert np.array_equal(np.argwhere(alone), np.argwhere(mask_with(500, 600, region)))


def test_a_neighbour_in_the_window_is_no_part_of_the_place():
    (window, place), _ = places(mask_with(200, 200, np.s_[90:110, 60:80], np.s_[90:110, 100:120]), margin=2)
    assert int(place.sum()) == 400
    assert window[1] == slice(20, 120)


def test_regions_that_touch_at_a_corner_are_one():
    assert len(list(places(mask_with(50, 50, np.s_[5:10, 5:10], np.s_[10:15, 10:15]), margin=0))) == 1


@pytest.mark.parametrize(
    ("region", "window"),
    [
        (np.s_[200:280, 300:340], np.s_[120:360, 200:440]),  # 80 px, and 80 px more on each side, square
        (np.s_[0:80, 0:80], np.s_[0:240, 0:240]),  # moved inside
        (np.s_[420:500, 520:600], np.s_[260:500, 360:600]),
        (np.s_[250:254, 300:306], np.s_[220:284, 271:335]),  # never less than 64 px
        (np.s_[10:490, 100:200], np.s_[0:500, 0:600]),  # larger than the picture: all of it
    ],
)
def test_the_window_is_a_square_around_the_place_as_far_as_the_picture_goes(region, window):
    ((found, _),) = places(mask_with(500, 600, region), margin=1)
    assert found == window


def test_a_picture_smaller_than_the_least_window_is_shown_whole():
    assert LEAST_WINDOW == 64
    ((window, place),) = places(mask_with(20, 30, np.s_[5:9, 5:9]), margin=1)
    assert window == np.s_[0:20, 0:30]
    assert place.shape == (20, 30)


def test_an_empty_mask_has_no_place():
    assert not list(places(mask_with(20, 30), margin=1))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 64), (512, 512)),
        ((2000, 2000), (512, 512)),
        ((300, 600), (256, 512)),
        ((90, 500), (96, 512)),
        ((1, 900), (16, 512)),
    ],
)
def test_the_working_size_has_the_pipelines_resolution_and_whole_patches(shape, size):
    assert working_size(*shape, 512, 16) == size
