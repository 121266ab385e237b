import numpy as np
import pytest

from gdino_lightning.data.images import decode_rgb
from gdino_lightning.inference.draw import (
    PALETTE,
    annotate,
    annotate_with_legend,
    color_of,
    colors_of,
    contact_sheet,
    draw_boxes,
    encode,
    legend,
    side_by_side,
)

GREY = 128


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def test_a_box_is_drawn_at_its_place_and_the_input_stays() -> None:
    image = grey(480, 600)
    drawn = draw_boxes(image, [[100, 50, 300, 400]], [""], [(255, 0, 0)])
    assert np.all(image == GREY)
    changed = np.argwhere(np.any(drawn != GREY, axis=2))
    assert np.abs(changed.min(0) - (50, 100)).max() <= 2
    assert np.abs(changed.max(0) - (400, 300)).max() <= 2
    assert np.all(drawn[200, 200] == GREY)  # nothing inside
    assert drawn[200, 100].tolist() == [255, 0, 0]


def test_small_pictures_are_enlarged_with_their_boxes() -> None:
    drawn = draw_boxes(grey(60, 120), [[30, 15, 60, 45]], [""], [(255, 0, 0)])
    assert drawn.shape == (480, 960, 3)
    assert drawn.dtype == np.uint8
    changed = np.argwhere(np.any(drawn != GREY, axis=2))
    assert np.abs(changed.min(0) - (120, 240)).max() <= 2
    assert np.abs(changed.max(0) - (360, 480)).max() <= 2


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [590, 470, 600, 480], [560, 0, 640, 30], [-5, 200, 0, 240]])
def test_a_strip_stays_inside_the_picture(box: list[int]) -> None:
    red = (255, 0, 0)
    inner = draw_boxes(grey(480, 600), [[200, 200, 220, 220]], ["with mask 0.93"], [red])
    edge = draw_boxes(grey(480, 600), [box], ["with mask 0.93"], [red])

    def letters(drawn: np.ndarray) -> int:
        return int(np.sum(np.all(drawn > 190, axis=2)))

    assert letters(inner) > 20
    assert letters(edge) == letters(inner)


def test_no_boxes_change_nothing() -> None:
    image = grey(480, 500)
    assert np.array_equal(annotate(image, np.zeros((0, 4)), [], ["a"]), image)


def test_texts_and_boxes_must_match() -> None:
    with pytest.raises(ValueError, match="argument"):
        draw_boxes(grey(480, 480), [[0, 0, 9, 9]], [], [(0, 0, 0)])


def test_a_crowd_has_scores_without_names() -> None:
    boxes = [[40 * i, 100, 40 * i + 30, 130] for i in range(13)]
    names = ["a very long name of a class"]
    crowd = annotate(grey(480, 600), boxes, [0] * 13, names, [0.5] * 13)
    few = annotate(grey(480, 600), boxes[:12], [0] * 12, names, [0.5] * 12)
    many = annotate(grey(480, 600), boxes * 4, [0] * 52, names, [0.5] * 52)
    inked = [int(np.any(drawn != GREY, axis=2)[80:98].sum()) for drawn in (many, crowd, few)]
    assert 0 == inked[0] < inked[1] < inked[2]


def test_classes_have_their_colours() -> None:
    drawn = annotate(grey(480, 600), [[50, 50, 200, 200], [300, 50, 400, 200]], [0, 1], ["a", "b"])
    assert tuple(drawn[150, 50]) == color_of(0)
    assert tuple(drawn[150, 300]) == color_of(1)
    assert color_of(len(PALETTE)) == color_of(0)


def test_side_by_side_holds_both_and_the_legend() -> None:
    left, right = np.full((480, 500, 3), 10, dtype=np.uint8), np.full((480, 500, 3), 20, dtype=np.uint8)
    both = side_by_side(left, right, ["with_mask", "without_mask"], "a.png")
    assert both.shape[1] == 1004
    rows = both[100:400]
    assert np.all(rows[:, :500] == 10)
    assert np.all(rows[:, 504:] == 20)
    assert np.any(np.all(both[-24:] == color_of(1), axis=2))


def test_a_legend_breaks_into_lines_and_shows_every_class() -> None:
    drawn = legend([f"class number {i}" for i in range(7)], 300)
    assert drawn.shape[1] == 300
    assert drawn.shape[0] > 24
    for label in range(7):
        assert np.any(np.all(drawn == color_of(label), axis=2))


def test_contact_sheet_places_pictures_row_by_row() -> None:
    pictures = [np.full((100 + i, 300, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    sheet = contact_sheet(pictures, columns=3, cell=200)
    height, width, _ = sheet.shape
    assert width == 600
    assert height < 200  # rows are as high as the shrunk pictures, 66 px
    centres = [sheet[height // 4 + height // 2 * (i // 3), 100 + 200 * (i % 3)].tolist() for i in range(5)]
    assert centres == [[10 * i] * 3 for i in range(5)]
    assert np.all(sheet[height // 2 :, 400:] == 255)
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_colours_follow_from_the_name_whatever_stands_beside_it() -> None:
    names = ["cat", "dog", "red bird"]
    assert colors_of(names) == colors_of(names)
    assert len(set(colors_of([f"phrase {i}" for i in range(len(PALETTE))]))) == len(PALETTE)
    many = colors_of([f"phrase {i}" for i in range(3 * len(PALETTE) + 2)])
    assert set(many) == set(PALETTE)
    assert len({each: many.count(each) for each in PALETTE}) == len(PALETTE)
    for name in names:  # alone, and first in any list, a phrase has its own colour
        assert colors_of([name])[0] == colors_of([name, *names[::-1]][:2])[0]


def test_texts_and_lines_grow_with_large_pictures() -> None:
    def inked(side: int) -> tuple[float, float]:
        drawn = annotate(grey(side, side), [[side / 4, side / 4, side / 2, side / 2]], [0], ["a house"], [0.5])
        changed = np.any(drawn != GREY, axis=2)
        strip, line = changed[: side // 4 - 2], changed[side * 3 // 8]
        return strip.any(1).sum() / side, line.sum() / side

    (small_strip, small_line), (large_strip, large_line) = inked(640), inked(2560)
    assert large_strip == pytest.approx(small_strip, rel=0.3)
    assert large_line > small_line / 2  # the soft edge of a line stays one pixel


def test_a_crowd_gets_a_legend_of_what_is_there() -> None:
    boxes = [[10 * i, 100, 10 * i + 8, 130] for i in range(13)]
    colors = colors_of(["cat", "dog", "bird"])
    drawn = annotate_with_legend(grey(480, 600), boxes, [0, 2] * 6 + [0], ["cat", "dog", "bird"], [0.5] * 13, colors)
    below = drawn[480:]
    assert below.shape[0] > 0
    assert np.any(np.all(below == colors[0], axis=2))
    assert np.any(np.all(below == colors[2], axis=2))
    assert not np.any(np.all(below == colors[1], axis=2))
    few = annotate_with_legend(grey(480, 600), boxes[:2], [0, 2], ["cat", "dog", "bird"], [0.5] * 2, colors)
    assert few.shape == (480, 600, 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_every_kind_of_picture_can_be_written(suffix: str) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200
    data = encode(image, suffix)
    np.testing.assert_allclose(decode_rgb(data, "a"), image, atol=12)
