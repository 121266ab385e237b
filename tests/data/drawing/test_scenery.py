import numpy as np

from gdino_lightning.data.drawing.scenery import add_clutter, background, lit


def test_backgrounds_fill_the_canvas_and_vary():
    drawn = [background(np.random.default_rng(seed), 120, 80) for seed in range(30)]
    assert all(canvas.shape == (80, 120, 3) and canvas.dtype == np.uint8 for canvas in drawn)
    assert len({canvas.tobytes() for canvas in drawn}) == 30
    flat = [canvas for canvas in drawn if canvas.std(axis=(0, 1)).max() == 0]
    assert 0 < len(flat) < 15  # from flat to busy


def test_clutter_changes_the_canvas():
    canvas = np.full((200, 200, 3), 128, np.uint8)
    add_clutter(np.random.default_rng(0), canvas, 0)
    assert (canvas == 128).all()
    add_clutter(np.random.default_rng(0), canvas, 6)
    assert 0.02 < np.mean((canvas != 128).any(axis=2)) < 0.9


def test_light_keeps_the_picture_and_varies():
    grey = np.full((60, 90, 3), 128, np.uint8)
    seen = [lit(np.random.default_rng(seed), grey) for seed in range(20)]
    assert all(picture.shape == grey.shape and picture.dtype == np.uint8 for picture in seen)
    assert (grey == 128).all()  # the input is left as it was
    assert np.ptp([picture.mean() for picture in seen]) > 15
    assert all(60 < picture.mean() < 170 for picture in seen)
