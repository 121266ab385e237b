import numpy as np

from gdino_lightning.data.drawing.masks import loose_mask, worn_mask
from gdino_lightning.data.drawing.shapes import Colour, Shape, extent

SKINS: list[Colour] = [(255, 224, 196), (201, 148, 104), (118, 77, 51)]
NOSE_TIP, MOUTH, CHIN = 0.165, 0.30, 0.5  # y of a head's features in local units


def worn(seed: int, skin: Colour, *, below_nose: bool) -> list[Shape]:
    return worn_mask(np.random.default_rng(seed), skin, 0.0, 0.85, below_nose=below_nose)


def test_mask_over_the_nose_covers_nose_and_mouth():
    for seed in range(30):
        _, top, _, bottom = extent(worn(seed, SKINS[0], below_nose=False))
        assert top < NOSE_TIP - 0.1
        assert bottom >= CHIN


def test_mask_under_the_nose_covers_the_mouth_alone():
    for seed in range(30):
        _, top, _, bottom = extent(worn(seed, SKINS[0], below_nose=True))
        assert NOSE_TIP < top < MOUTH - 0.06
        assert bottom >= CHIN


def test_mask_is_seen_on_every_skin():
    for skin in SKINS:
        for seed in range(30):
            cloth = [shape for shape in worn(seed, skin, below_nose=False) if shape.boxed][1]
            assert np.linalg.norm(np.subtract(cloth.colour, skin)) >= 95


def test_loose_mask_is_not_a_head():
    shapes = loose_mask(np.random.default_rng(0))
    points = np.concatenate([shape.points for shape in shapes])
    assert not any(shape.boxed for shape in shapes)
    assert np.abs(points).max() < 0.6  # about the origin
