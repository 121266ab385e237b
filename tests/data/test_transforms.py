import numpy as np
import pytest

from gdino_lightning.data.transforms import CROP_MIN, Augmentation, Augmenter
from gdino_lightning.errors import ConfigError

# red, green and blue patches on grey: what a box must enclose can be read off the pixels
BOXES_PX = np.array([[60, 40, 120, 90], [200, 150, 230, 240], [300, 20, 390, 60]], np.float32)


def patches(width=400, height=301):
    rgb = np.full((height, width, 3), 128, np.uint8)
    for channel, (x1, y1, x2, y2) in enumerate(BOXES_PX.astype(int)):
        rgb[y1:y2, x1:x2] = 0
        rgb[y1:y2, x1:x2, channel] = 255
    return rgb


def seen_box(rgb, channel):
    others = [c for c in range(3) if c != channel]
    pixels = rgb.astype(int)
    ys, xs = np.nonzero(pixels[..., channel] - pixels[..., others].max(-1) > 90)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)


def apply(augmentation, seed, rgb=None, boxes=BOXES_PX):
    augmenter = Augmenter(augmentation)
    augmenter.seed(0, 0, seed)
    rgb, boxes_px, rows = augmenter.geometric(patches() if rgb is None else rgb, boxes)
    return augmenter.photometric(rgb), boxes_px, rows


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(1, 0, 0), Augmentation(0, 1, 0), Augmentation(0, 0, 1), Augmentation(1, 1, 1)],
)
@pytest.mark.parametrize("seed", range(5))
def test_boxes_follow_the_pixels(augmentation, seed):
    rgb, boxes_px, rows = apply(augmentation, seed)
    assert rows.tolist() == [0, 1, 2]
    for row, box in zip(rows, boxes_px, strict=True):
        assert np.abs(seen_box(rgb, row) - box).max() <= 1.5


def test_zeros_switch_everything_off():
    for seed in range(20):
        rgb, boxes_px, _ = apply(Augmentation(0, 0, 0), seed)
        np.testing.assert_array_equal(rgb, patches())
        np.testing.assert_allclose(boxes_px, BOXES_PX, atol=1e-3)


def test_crops_hold_every_box_and_half_of_each_side():
    sizes = set()
    for seed in range(200):
        rgb, boxes_px, rows = apply(Augmentation(0, 0, 1), seed)
        height, width = rgb.shape[:2]
        sizes.add((width, height))
        assert rows.tolist() == [0, 1, 2]
        np.testing.assert_allclose(boxes_px[:, 2:] - boxes_px[:, :2], BOXES_PX[:, 2:] - BOXES_PX[:, :2], atol=1e-3)
        assert width >= CROP_MIN * 400 - 1
        assert height >= CROP_MIN * 301 - 1
    assert len(sizes) > 50


def test_flips_and_crops_are_drawn_apart():
    combinations = set()
    for seed in range(40):
        rgb, boxes_px, _ = apply(Augmentation(0.5, 0, 0.5), seed)
        combinations.add((rgb.shape != (301, 400, 3), bool(boxes_px[0, 0] > boxes_px[2, 0])))
    assert len(combinations) == 4


def test_pictures_without_boxes_are_cropped_too():
    rgb, boxes_px, rows = apply(Augmentation(1, 1, 1), 0, boxes=np.zeros((0, 4), np.float32))
    assert (boxes_px.shape, boxes_px.dtype, rows.shape, rows.dtype) == ((0, 4), np.float32, (0,), np.int64)
    assert rgb.size < patches().size


def test_boxes_are_clipped_and_those_without_area_dropped():
    boxes = np.array([[390, 0, 401, 20], [10, 10, 10, 30], [30, 30, 60, 50]], np.float32)
    _, boxes_px, rows = apply(Augmentation(0, 0, 0), 0, boxes=boxes)
    assert rows.tolist() == [0, 2]
    np.testing.assert_allclose(boxes_px, [[390, 0, 400, 20], [30, 30, 60, 50]], atol=1e-3)


def test_draws_follow_from_the_seed_alone():
    used, fresh = (Augmenter(Augmentation(0.5, 1, 0.5)) for _ in range(2))
    used.seed(0, 3, 1)
    used.photometric(used.geometric(patches(), BOXES_PX)[0])
    results = []
    for augmenter in (used, fresh):
        augmenter.seed(0, 3, 7)
        rgb, boxes_px, _ = augmenter.geometric(patches(), BOXES_PX)
        results.append((augmenter.photometric(rgb), boxes_px))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    fresh.seed(0, 4, 7)
    assert not np.array_equal(fresh.photometric(patches()), results[0][0])


def test_the_stored_picture_is_left_alone():
    stored, boxes = patches(), BOXES_PX.copy()
    for seed in range(30):
        apply(Augmentation(1, 1, 1), seed, stored, boxes)
    np.testing.assert_array_equal(stored, patches())
    np.testing.assert_array_equal(boxes, BOXES_PX)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_probabilities_out_of_range_are_refused(value):
    with pytest.raises(ConfigError, match=r"augmentation\.crop"):
        Augmentation(crop=value)
