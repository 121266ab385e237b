"""Editing what is shown, without a browser and without a model."""

import numpy as np
import pytest
from PIL import Image
from stand_ins import FakePredictor

from gdino_lightning.editing.fill import OpenCvFill
from gdino_lightning.editing.masks import Outline
from gdino_lightning.errors import ConfigError
from gdino_lightning.web.edit_session import edit_shown
from gdino_lightning.web.session import Thresholds, look

TIGHT = Outline(padding=0, feather=0)


@pytest.fixture
def source(tmp_path) -> np.ndarray:
    """Noise of 100x90 px with transparency, saved as picture.png."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 100, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return pixels


@pytest.fixture
def looked(source, tmp_path):
    return look(FakePredictor(), {"path": str(tmp_path / "picture.png")}, "cat . dog")


def test_only_the_chosen_phrase_is_edited_and_the_rest_is_kept_to_the_bit(looked, source, tmp_path):
    output = tmp_path / "edited.png"
    shown = edit_shown(looked, Thresholds(), ["dog"], OpenCvFill(), "", TIGHT, output)
    edited = np.asarray(Image.open(output))
    inside = np.zeros((90, 100), bool)
    inside[20:80, 60:90] = True  # the dog's box
    assert np.array_equal(edited[~inside], source[~inside])
    assert (edited[inside][:, :3] != source[inside][:, :3]).any(1).mean() > 0.9
    assert np.array_equal(edited[..., 3], source[..., 3])
    assert np.array_equal(shown.before, source[..., :3])
    assert np.array_equal(shown.after, edited[..., :3])
    assert shown.summary == "**1 box**: 1 dog. 80.0% of the pixels are untouched."  # 30 * 60 of 9,000 are not


def test_boxes_below_the_threshold_are_left_alone(looked, source, tmp_path):
    edit_shown(looked, Thresholds(box_threshold=0.7), ["cat", "dog"], OpenCvFill(), "", TIGHT, tmp_path / "edited.png")
    edited = np.asarray(Image.open(tmp_path / "edited.png"))
    changed = (edited != source).any(2)
    assert changed[10:50, 10:50].any()
    changed[10:50, 10:50] = False
    assert not changed.any()


def test_a_prompt_reaches_the_fill_for_every_chosen_phrase(looked, tmp_path):
    prompts = []

    def paint(picture, mask, prompt=""):
        prompts.append(prompt)
        return np.full_like(picture, 7)

    edit_shown(looked, Thresholds(), ["cat", "dog"], paint, "a red scarf", TIGHT, tmp_path / "edited.png")
    assert prompts == ["a red scarf", "a red scarf"]
    assert (np.asarray(Image.open(tmp_path / "edited.png"))[20:80, 60:90, :3] == 7).all()


def test_editing_before_detecting_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="press Detect first"):
        edit_shown(None, Thresholds(), [], OpenCvFill(), "", TIGHT, tmp_path / "edited.png")


@pytest.mark.parametrize(("names", "threshold"), [([], 0.35), (["bird"], 0.35), (["dog"], 0.5)])
def test_nothing_to_edit_is_one_clear_line(looked, tmp_path, names, threshold):
    with pytest.raises(ConfigError, match="none of these phrases is shown"):
        edit_shown(looked, Thresholds(threshold), names, OpenCvFill(), "", TIGHT, tmp_path / "edited.png")
    assert not (tmp_path / "edited.png").exists()
