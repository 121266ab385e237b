import numpy as np

from gdino_lightning.data.worlds.backdrop import make_backdrop


def test_a_background_stays_close_to_the_colours_that_it_names():
    for seed in range(60):
        backdrop = make_backdrop(np.random.default_rng(seed), 60, 90)
        assert backdrop.canvas.shape == (60, 90, 3)
        pixels = backdrop.canvas.reshape(-1, 3).astype(int)
        distances = np.linalg.norm(pixels[:, None] - np.array(backdrop.colours), axis=2).min(axis=1)
        assert distances.max() < 42  # half of the contrast that things have


def test_backgrounds_reach_from_flat_to_busy():
    detail = []
    for seed in range(60):
        canvas = make_backdrop(np.random.default_rng(seed), 60, 90).canvas.astype(int)
        detail.append(np.abs(np.diff(canvas, axis=1)).mean())
    assert min(detail) == 0
    assert max(detail) > 0.8


def test_backgrounds_are_light_and_dark():
    means = [make_backdrop(np.random.default_rng(seed), 20, 20).canvas.mean() for seed in range(60)]
    assert min(means) < 70
    assert max(means) > 200
