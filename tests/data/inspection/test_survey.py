import pytest

from gdino_lightning.data.inspection.survey import coco_size, survey
from gdino_lightning.data.table import Row


@pytest.mark.parametrize(
    ("side", "size"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large"), (1, "small"), (500, "large")]
)
def test_sizes_are_those_of_coco(side, size):
    assert coco_size(Row("cat", (10, 20, 10 + side, 20 + side), "a.png", 600, 600)) == size


def test_the_size_of_a_box_is_that_of_its_part_in_the_picture():
    assert coco_size(Row("cat", (80, 0, 200, 100), "a.png", 100, 100)) == "medium"  # 20 x 100 px of it


def test_the_text_has_counts_sizes_and_findings(add_split):
    root = add_split("train", {"a.png": [("cat", (1, 2, 40, 30)), ("cat", (1, 2, 11, 11))], "b.png": []})
    add_split("test", {f"{index}.png": [("dog", (1, 2, 41, 25))] for index in range(7)})
    assert str(survey(root, progress=False)) == "\n".join(
        [
            f"{root}: 9 pictures",
            "",
            "                   train     test    total",
            "pictures               2        7        9",
            "  without a box        1        0        1",
            "boxes                  2        7        9",
            "  cat                  2        0        2",
            "  dog                  0        7        7",
            "",
            "pictures   width 40 to 40 px (median 40), height 30 to 30 px (median 30); 1 different sizes",
            "boxes      8 small (89%), 1 medium (11%), 0 large (0%) by COCO's areas; "
            "shorter side 9 to 28 px (median 23)",
            "warning    7 boxes leaving the picture (clipped when loaded)",
            *(f"           test/annotations.csv:{line + 2} ({line}.png, dog): by 1 px" for line in range(5)),
            "           ... and 2 more",
            "warning    train has no box of dog",
            "warning    test has no box of cat",
            "warning    train has fewer than 30 boxes of cat (2): their AP is mostly chance",
            "warning    test has fewer than 30 boxes of dog (7): their AP is mostly chance",
        ]
    )


def test_a_dataset_without_fault_says_so(add_split):
    grid = [("cat", (x, y, x + 5, y + 5)) for x in range(0, 35, 5) for y in range(0, 25, 5)]
    assert str(survey(add_split("train", {"a.png": grid}), progress=False)).endswith("\nnothing strange was found")


def test_classes_come_the_rarest_first(add_split):
    boxes = [("b", (1, 2, 20, 25)), ("c", (1, 2, 30, 25)), ("b", (1, 2, 9, 25)), ("a", (5, 5, 10, 10))]
    assert survey(add_split("train", {"p.png": boxes}), progress=False).classes == ["a", "c", "b"]


def test_a_dataset_whose_pictures_are_all_gone_is_still_told_of(add_split):
    root = add_split("train", {"a.png": [("cat", (1, 2, 20, 25))]})
    (root / "train/images/a.png").unlink()
    text = str(survey(root, progress=False))
    assert "pictures   none can be read" in text
    assert "warning    1 picture cannot be read and will stop training\n           train/images/a.png: " in text
