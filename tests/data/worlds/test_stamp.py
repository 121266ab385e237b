"""Things drawn alone on a flat ground: size, colour and texture, measured in pixels."""

from collections import Counter

import cv2
import numpy as np
import pytest

from gdino_lightning.data.worlds.catalogue import KINDS, SIGNS
from gdino_lightning.data.worlds.paint import COLOURS, TEXTURES
from gdino_lightning.data.worlds.stamp import FINE, make_stamp

# what the colour words mean, chosen independently of the paint
MEANING = {
    "red": (220, 20, 30), "orange": (255, 140, 0), "yellow": (255, 225, 0), "green": (34, 150, 50),
    "blue": (30, 80, 230), "purple": (128, 40, 170), "pink": (255, 160, 200), "brown": (120, 75, 35),
    "black": (15, 15, 15), "white": (252, 252, 252), "grey": (140, 140, 140),
}  # fmt: skip
NEUTRAL = {"black", "white", "grey"}
GROUND = np.array([0, 255, 255])  # no tone of any thing


def drawn(kind: str, colour: str = "red", texture: str = "plain", side: float = 60, seed: int = 0) -> np.ndarray:
    stamp = make_stamp(np.random.default_rng(seed), KINDS[kind], colour, texture, side)
    canvas = np.full((*stamp.shape, 3), GROUND, np.uint8)
    stamp.put(canvas, 0, 0)
    return canvas


def touched(canvas: np.ndarray) -> np.ndarray:
    return np.abs(canvas.astype(int) - GROUND).max(axis=2) > 3


def named_colours(canvas: np.ndarray) -> Counter[str]:
    """Nearest colour word of each pixel that the thing covers wholly or nearly so."""
    pixels = canvas[np.abs(canvas.astype(int) - GROUND).max(axis=2) > 100].astype(int)
    distances = np.linalg.norm(pixels[:, None] - np.array(list(MEANING.values())), axis=2)
    return Counter(np.array(list(MEANING))[distances.argmin(axis=1)].tolist())


@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_colour_is_the_commonest_of_every_kind(colour):
    wrong = [kind for kind in KINDS if named_colours(drawn(kind, colour)).most_common(1)[0][0] != colour]
    assert wrong == []


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_leaves_the_colour_dominant(texture):
    # patterns and details are black, white or grey: among the other colours the named one is the commonest
    for kind in (name for name, kind in KINDS.items() if kind.patterned):
        for colour in COLOURS:
            counts = named_colours(drawn(kind, colour, texture))
            assert counts[colour] > 0.25 * counts.total(), (kind, colour)
            if colour not in NEUTRAL:
                assert max(counts.keys() - NEUTRAL, key=counts.__getitem__) == colour, (kind, colour)


@pytest.mark.parametrize("side", [20, 33, 60, 100])
def test_the_longer_side_is_about_as_asked_and_the_crop_is_tight(side):
    for kind in KINDS:
        mask = touched(drawn(kind, side=side))
        assert side * 0.86 <= max(mask.shape) <= side * 1.06 + 4
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert (rows[0], columns[0]) == (0, 0)
        assert (rows[-1] + 1, columns[-1] + 1) == mask.shape


def test_covered_cells_are_the_pixels_that_change():
    for kind in ("ring", "bicycle", "tree", "letter A"):
        stamp = make_stamp(np.random.default_rng(1), KINDS[kind], "red", "plain", 60)
        canvas = np.full((*stamp.shape, 3), GROUND, np.uint8)
        stamp.put(canvas, 0, 0)
        height, width = stamp.shape
        cells = stamp.covers.reshape(height, FINE, width, FINE).any(axis=(1, 3))
        assert np.array_equal(touched(canvas), cells)


def test_a_ring_shows_what_is_behind_it():
    canvas = drawn("ring")
    height, width, _ = canvas.shape
    assert np.array_equal(canvas[height // 2, width // 2], GROUND)


def test_instances_of_a_kind_vary():
    for kind in KINDS:
        assert len({drawn(kind, seed=seed).tobytes() for seed in range(6)}) == 6


def test_signs_are_never_mirrored():
    # the foot of an L is always at its right
    for seed in range(40):
        mask = touched(drawn("letter L", seed=seed))
        height, width = mask.shape
        assert mask[height // 2 :, width // 2 :].sum() > 3 * mask[: height // 2, width // 2 :].sum()


def test_other_kinds_are_mirrored():
    sides = set()
    for seed in range(40):
        mask = touched(drawn("arrow", seed=seed))
        sides.add(bool(mask[:, : mask.shape[1] // 2].sum() > mask.sum() / 2))
    assert sides == {True, False}


def pattern(texture: str) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """White cells of a red square, and width, height and area of each connected patch of them."""
    canvas = cv2.resize(drawn("square", "red", texture, side=120, seed=3), None, fx=2, fy=2)
    white = (canvas.min(axis=2) > 150).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=4)
    patches = [(int(w), int(h), int(area)) for _, _, w, h, area in stats[1:] if area > 60]
    return white, patches


def test_plain_has_no_pattern():
    assert pattern("plain")[0].sum() == 0


def test_stripes_are_few_and_long():
    white, patches = pattern("striped")
    assert 3 <= len(patches) <= 12
    assert max(max(w, h) for w, h, _ in patches) > 0.7 * max(white.shape)


def test_dots_are_many_and_round():
    _, patches = pattern("dotted")
    largest = max(area for *_, area in patches)
    whole = [(w, h, area) for w, h, area in patches if area > 0.9 * largest]
    assert len(patches) >= 15
    assert len(whole) >= 6
    for w, h, area in whole:
        assert 0.75 < w / h < 1.35
        assert area == pytest.approx(np.pi / 4 * w * h, rel=0.12)


def test_checks_are_many_and_square():
    _, patches = pattern("checked")
    largest = max(area for *_, area in patches)
    whole = [(w, h, area) for w, h, area in patches if area > 0.9 * largest]
    assert len(patches) >= 15
    assert len(whole) >= 6
    assert all(area > 0.88 * w * h for w, h, area in whole)


def test_letters_and_digits_are_plain_and_never_covered():
    assert not any(kind.patterned or kind.covered or kind.mirrored for kind in SIGNS.values())
