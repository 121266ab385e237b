import cv2
import numpy as np
import pytest
from voc_factory import png

from gdino_lightning.data.inspection.findings import Finding
from gdino_lightning.data.inspection.survey import survey

MANY = [("cat", (1, 1 + 0.01 * index, 11 + 0.5 * index, 20)) for index in range(60)]


def findings(root) -> dict[str, Finding]:
    """What was found, but for classes that are rare in so few pictures; by text."""
    found = survey(root, progress=False).findings
    return {finding.text: finding for finding in found if "fewer than 30 boxes" not in finding.text}


def only(root) -> Finding:
    (finding,) = findings(root).values()
    return finding


def test_a_dataset_without_fault_has_no_findings(add_split):
    root = add_split("train", {"a.png": [("cat", (1, 2, 20, 25))], "b.png": []})
    add_split("test", {"c.png": [("cat", (0, 0, 40, 30))]})
    assert findings(root) == {}


def test_pictures_that_cannot_be_read_are_named(add_split):
    root = add_split(
        "train", {"a.png": [("cat", (1, 2, 20, 25))], "b.png": [], "c.png": []}, {"b.png": b"", "c.png": b"x"}
    )
    finding = only(root)
    assert finding.text == "2 pictures cannot be read and will stop training"
    assert [place.split(":")[0] for place in finding.places] == ["train/images/b.png", "train/images/c.png"]


def test_a_picture_of_another_size_than_its_table_says_is_named(add_split):
    root = add_split("train", {"a.png": [("cat", (1, 2, 20, 25))]}, {"a.png": png(30, 40)})
    finding = only(root)
    assert finding.text.startswith("1 box with another picture size than the file has")
    assert finding.places == ("train/annotations.csv:2 (a.png, cat): 40x30 in the table, 30x40 in the file",)


@pytest.mark.parametrize(
    ("box", "text", "detail"),
    [
        ((9, 2, 3, 25), "1 box that cannot be used and will stop training", "are the corners swapped?"),
        ((5, 5, 5, 25), "1 box that cannot be used and will stop training", "has no area"),
        ((40, 2, 60, 25), "1 box that cannot be used and will stop training", "lies outside the picture of 40x30 px"),
        ((-2.5, 2, 41, 25), "1 box leaving the picture (clipped when loaded)", "by 2.5 px"),
        ((1, 2, 20, 31), "1 box leaving the picture (clipped when loaded)", "by 1 px"),
        ((1, 2, 4.5, 25), "1 box with a side below 4 px: hardly to be learned, and counted as misses", "3.5x23 px"),
    ],
)
def test_boxes_that_are_wrong_outside_or_tiny_are_named_with_their_line(add_split, box, text, detail):
    finding = only(add_split("train", {"a.png": [("cat", (10, 2, 30, 25)), ("dog", box)]}))
    assert finding.text == text
    (place,) = finding.places
    assert place.startswith("train/annotations.csv:3 (a.png, dog): ")
    assert place.endswith(detail)


def test_a_side_of_4_px_is_not_tiny_and_a_box_that_clipping_leaves_3_px_of_is(add_split):
    assert findings(add_split("train", {"a.png": [("cat", (1, 2, 5, 6))]})) == {}
    found = list(findings(add_split("test", {"b.png": [("cat", (37, 2, 41, 25))]})))
    assert [text.split(" px")[0] for text in found] == [
        "1 box leaving the picture (clipped when loaded)",
        "1 box with a side below 4",
    ]


def test_the_same_thing_boxed_twice_is_named_whatever_its_class(add_split):
    boxes = [("cat", (0, 0, 20, 20)), ("dog", (0, 0, 20, 19)), ("dog", (0, 0, 20, 10)), ("cat", (20, 0, 40, 20))]
    finding = only(add_split("train", {"a.png": boxes}))
    assert finding.text == "1 pair of boxes with an IoU of 0.9 or more: the same thing twice?"
    assert finding.places == ("train/images/a.png: lines 2 and 3 of the table (cat and dog), IoU 0.95",)  # 380 / 400


def test_a_crowd_beyond_coco_is_named(add_split):
    crowd = [("cat", (float(x), float(y), x + 4.0, y + 5.0)) for x in range(0, 36, 2) for y in range(0, 24, 4)]
    assert len(crowd) == 108
    assert only(add_split("train", {"a.png": crowd, "b.png": crowd[:100]})).places == ("train/images/a.png: 108 boxes",)


def test_pictures_of_the_same_bytes_are_named_with_where_they_are_and_whether_their_boxes_agree(add_split):
    box = [("cat", (1, 2, 20, 25))]
    same = dict.fromkeys(["a.png", "b.png"], png(seed=1)) | dict.fromkeys(["c.png", "d.png"], png(seed=2))
    root = add_split("train", {"a.png": box, "b.png": box, "c.png": []}, same)
    add_split("test", {"d.png": box}, same)
    cut, whole = findings(root).values()
    assert cut.text.startswith("1 group of byte-identical pictures in both splits")
    assert "`gdino prepare --split grouped`" in cut.text
    assert cut.places == ("train/images/c.png = test/images/d.png (boxes differ)",)
    assert [[look.path.name for look in group] for group in cut.groups] == [["c.png", "d.png"]]
    assert whole.text == "1 group of byte-identical pictures within a split"
    assert whole.places == ("train/images/a.png = train/images/b.png (the same boxes)",)


def test_a_picture_saved_again_is_near_identical(add_split):
    smooth = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8), (40, 30), interpolation=cv2.INTER_CUBIC
    )
    files = {
        "a.png": cv2.imencode(".png", smooth)[1].tobytes(),
        "b.png": cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes(),
    }
    root = add_split("train", {"a.png": [("cat", (1, 2, 20, 25))]}, files)
    add_split("test", {"b.png": [("cat", (1, 2, 20, 25))]}, files)
    finding = only(root)
    assert finding.text.startswith("1 group of near-identical pictures in both splits")
    assert finding.places == ("train/images/a.png = test/images/b.png (the same boxes)",)


def test_missing_and_rare_classes_are_named_by_split(add_split):
    root = add_split("train", {"a.png": MANY, "b.png": [("dog", (1, 2, 20, 25))]})
    add_split("test", {"c.png": MANY})
    texts = [finding.text for finding in survey(root, progress=False).findings if not finding.places]
    assert texts == ["test has no box of dog", "train has fewer than 30 boxes of dog (1): their AP is mostly chance"]
