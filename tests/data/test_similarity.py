import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from gdino_lightning.data.similarity import near_identical, perceptual_hash, thumbnail


def scene(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A picture with structure of all sizes, like a photograph: blurred noise, shapes, fine grain."""
    chance = np.random.default_rng(seed)
    image = cv2.resize(
        chance.integers(0, 256, (5, 7, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(12):
        x, y, side = (int(value) for value in chance.integers(0, [width, height, 60]))
        color = chance.integers(0, 256, 3).tolist()
        cv2.rectangle(image, (x, y), (x + side + 5, y + side + 5), color, thickness=-1)
    grain = chance.normal(0, 4, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def cropped(image: np.ndarray, part: float) -> np.ndarray:
    top, left = int(part * image.shape[0]), int(part * image.shape[1])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def brighter(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.clip(image * gain + offset, 0, 255).astype(np.uint8)


def groups(*images: np.ndarray) -> tuple[tuple[str, ...], ...]:
    return near_identical({f"p{index}": thumbnail(image) for index, image in enumerate(images)})


SAME = {
    "the picture itself": lambda image: image.copy(),
    "saved as a good JPEG": lambda image: encoded(image, 90),
    "saved as a bad JPEG": lambda image: encoded(image, 20),
    "half as large": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "twice as large": lambda image: cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "darker": lambda image: brighter(image, 0.8, 0),
    "of less contrast": lambda image: brighter(image, 0.7, 30),
    "noisy": lambda image: brighter(image + np.random.default_rng(0).normal(0, 8, image.shape), 1, 0),
}
OTHER = {
    "a crop": lambda image: cropped(image, 0.1),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "turned": lambda image: np.rot90(image).copy(),
    "a negative": lambda image: 255 - image,
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_picture_that_was_saved_again_is_near_identical(change):
    for seed in range(5):
        image = scene(seed)
        assert groups(image, scene(seed + 100), change(image)) == (("p0", "p2"),)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_is_not_found_is_known(change):
    for seed in range(5):
        image = scene(seed)
        assert groups(image, change(image)) == ()


def test_different_pictures_are_no_group():
    assert groups(*(scene(seed, 80, 60) for seed in range(300))) == ()


def test_a_picture_like_two_others_puts_all_in_one_group():
    first, second = scene(0), scene(1)
    images = (first, second, encoded(first, 60), encoded(second, 60), encoded(first, 40))
    assert groups(*images) == (("p0", "p2", "p4"), ("p1", "p3"))


def test_groups_are_found_across_the_blocks_of_the_matrix():
    images = [scene(seed, 80, 60) for seed in range(600)]
    images[599] = encoded(images[0], 70)
    images[300] = encoded(images[299], 70)
    assert groups(*images) == (("p0", "p599"), ("p299", "p300"))


def test_pictures_of_one_colour_are_the_same_only_if_the_colour_is():
    white, grey = (np.full((40, 60, 3), level, np.uint8) for level in (255, 128))
    assert groups(white, grey, white, scene(0)) == (("p0", "p2"),)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_for_a_group(count):
    assert groups(*(scene(seed) for seed in range(count))) == ()


def test_the_hash_has_a_bit_for_each_low_frequency_above_the_median():
    """Against another implementation of the cosine transform."""
    for seed in range(20):
        small = thumbnail(scene(seed))
        low = dctn(small.astype(np.float64), type=2, norm="ortho")[:8, :8]
        bits = low > np.median(low)
        assert np.count_nonzero(bits.ravel() != perceptual_hash(small)) == 0
        assert np.count_nonzero(bits) == 32
