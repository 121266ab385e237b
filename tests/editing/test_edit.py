"""Editing around the backend: what is filled, in which order, and what keeps its bytes."""

import numpy as np
import pytest
import torch

from gdino_lightning.editing.edit import compose, edit
from gdino_lightning.editing.fill import OpenCvFill
from gdino_lightning.editing.masks import Outline
from gdino_lightning.inference.postprocess import Detections

HARD = Outline(padding=0, feather=0)
COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def noise(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def found(*boxes_and_labels: tuple[list[float], int]) -> Detections:
    boxes = torch.tensor([box for box, _ in boxes_and_labels], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label in boxes_and_labels], dtype=torch.int64)
    return Detections(boxes, torch.full((len(boxes),), 0.9), labels)


class Painter:
    """A backend that paints the whole picture in the colour that the prompt names, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, np.ndarray]] = []

    def __call__(self, picture, mask, prompt=""):
        self.asked.append((prompt, mask.copy()))
        return np.full_like(picture, COLORS.get(prompt, (7, 8, 9)))


def test_outside_the_padded_boxes_every_byte_is_the_sources():
    """The backend changes everything; boxes of 20 px with a padding of 3 px."""
    picture = noise(0)
    before = picture.copy()
    edited = edit(picture, found(([10, 10, 30, 30], 0), ([50, 35, 70, 55], 0)), Painter(), ["red"])
    inside = np.zeros((60, 80), bool)
    inside[7:33, 7:33] = inside[32:58, 47:73] = True
    assert np.array_equal(edited.picture[~inside], before[~inside])
    assert np.array_equal(edited.mask > 0, inside)
    assert (edited.picture[10:30, 10:30] == COLORS["red"]).all()
    assert np.array_equal(picture, before)


def test_two_phrases_edit_two_places():
    edited = edit(noise(1), found(([5, 5, 20, 20], 1), ([40, 30, 60, 50], 0)), Painter(), ["red", "blue"], HARD)
    assert (edited.picture[30:50, 40:60] == COLORS["red"]).all()
    assert (edited.picture[5:20, 5:20] == COLORS["blue"]).all()
    assert int((edited.mask == 255).sum()) == 15 * 15 + 20 * 20


def test_later_labels_lie_on_top():
    edited = edit(noise(2), found(([0, 0, 30, 30], 0), ([10, 10, 40, 40], 1)), Painter(), ["red", "blue"], HARD)
    assert edited.picture[5, 5].tolist() == [255, 0, 0]
    assert edited.picture[20, 20].tolist() == [0, 0, 255]


def test_without_prompts_everything_is_removed_at_once():
    """One after the other, the first would be filled with pixels of the second."""
    painter = Painter()
    edit(noise(3), found(([0, 0, 10, 10], 0), ([10, 0, 20, 10], 3)), painter, outline=HARD)
    ((prompt, mask),) = painter.asked
    assert prompt == ""
    assert mask[:10, :20].all()
    assert int((mask > 0).sum()) == 200


def test_neighbours_are_removed_without_a_trace_of_each_other():
    picture = np.full((40, 60, 3), 60, np.uint8)
    picture[10:20, 10:20], picture[10:20, 20:30] = (255, 0, 0), (0, 0, 255)
    edited = edit(picture, found(([10, 10, 20, 20], 0), ([20, 10, 30, 20], 1)), OpenCvFill())
    assert (edited.picture == 60).all()


def test_a_phrase_that_was_not_found_costs_nothing():
    painter = Painter()
    edit(noise(4), found(([5, 5, 20, 20], 1)), painter, ["red", "blue"])
    assert [prompt for prompt, _ in painter.asked] == ["blue"]


@pytest.mark.parametrize("prompts", [None, ["red"]])
def test_nothing_found_is_the_picture_as_it_was(prompts):
    painter, picture = Painter(), noise(5)
    edited = edit(picture, found(), painter, prompts)
    assert np.array_equal(edited.picture, picture)
    assert not edited.mask.any()
    assert not painter.asked


def test_a_label_without_a_prompt_is_an_error():
    with pytest.raises(ValueError, match="label 2 has no prompt"):
        edit(noise(6), found(([5, 5, 20, 20], 2)), Painter(), ["red", "blue"])


def test_mixing_is_exact_at_both_ends_and_rounds_to_the_nearest_between():
    old, new = noise(7), noise(8)
    mask = np.random.default_rng(9).integers(0, 256, (60, 80), dtype=np.uint8)
    mask[:5], mask[5:10] = 0, 255
    mixed = compose(old, new, mask)
    assert np.array_equal(mixed[:5], old[:5])
    assert np.array_equal(mixed[5:10], new[5:10])
    share = mask[..., None] / 255.0
    assert np.abs(mixed - (old * (1 - share) + new * share)).max() <= 0.5 + 1e-9
