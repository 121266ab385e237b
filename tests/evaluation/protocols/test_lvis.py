"""LVIS' numbers: equal to those that lvis 0.5.3, the reference package, printed, and to what can be counted by hand."""

import json

import pytest
from federated import draw, record

from gdino_lightning.errors import ConfigError, DatasetError
from gdino_lightning.evaluation.protocols.lvis import lvis_scores
from gdino_lightning.evaluation.records import RecordSet

BOX, OTHER = (10, 10, 50, 60), (200, 200, 300, 260)
NAMES = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "APr",
    "APc",
    "APf",
    "fixed AP",
    "fixed APr",
    "fixed APc",
    "fixed APf",
)
# LVISEval on LVISResults(max_dets=300), and for fixed AP with max_dets=-1; seed and clutter of the drawn set -> numbers
REFERENCE = {
    (0, 15): (
        *(0.158597226, 0.267321982, 0.155533671, 0.039232673, 0.186475021, 0.275955033),
        *(0.160867074, 0.114011473, 0.200913133, 0.158597226, 0.160867074, 0.114011473, 0.200913133),
    ),
    (1, 15): (
        *(0.347806165, 0.497816369, 0.448954804, 0.042326733, 0.344673983, 0.521276521),
        *(0.437435172, 0.405994008, 0.199989314, 0.347806165, 0.437435172, 0.405994008, 0.199989314),
    ),
    (2, 500): (
        *(0.018661649, 0.029299826, 0.019004294, 0.011346063, 0.014423653, 0.069167716),
        *(0.029800973, 0.013769225, 0.01241475, 0.019947223, 0.03083528, 0.014560097, 0.014446293),
    ),
}


@pytest.fixture
def official(tmp_path):
    """Write LVIS' JSON of cats (1, frequent) and dogs (2, rare): (truth, negative, not exhaustive) of each picture."""

    def write(*pictures, **changes):
        annotations = [
            {
                "id": 10 * image + number,
                "image_id": image,
                "category_id": label,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
            }
            for image, (truth, *_) in enumerate(pictures, start=1)
            for number, (label, box) in enumerate(truth)
        ]
        content = {
            "images": [
                {
                    "id": image,
                    "file_name": f"val/{image}.jpg",
                    "neg_category_ids": no,
                    "not_exhaustive_category_ids": some,
                }
                for image, (_, no, some) in enumerate(pictures, start=1)
            ],
            "categories": [{"id": 1, "name": "cat", "frequency": "f"}, {"id": 2, "name": "dog", "frequency": "r"}],
            "annotations": annotations,
        }
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write


def found(*pictures) -> RecordSet:
    """(class, box, score) of each picture, with cat 0 and dog 1."""
    records = tuple(record(number, [], list(each)) for number, each in enumerate(pictures))
    return RecordSet(("cat", "dog"), tuple(f"{number}.jpg" for number in range(1, len(pictures) + 1)), records)


@pytest.mark.parametrize("drawn", REFERENCE, ids=str)
def test_numbers_are_those_of_the_reference_package(tmp_path, drawn):
    annotations, said = draw(*drawn)
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(annotations))
    scores = lvis_scores(said, path)
    assert tuple(scores) == NAMES
    assert tuple(scores.values()) == pytest.approx(REFERENCE[drawn], abs=1e-8)


def test_a_class_counts_where_it_was_looked_for_and_nowhere_else(official):
    path = official(([(1, BOX)], [], []), ([(2, BOX)], [], []), ([], [2], []))
    said = found(
        [(0, BOX, 0.9), (1, OTHER, 0.99)],  # nobody looked for dogs here
        [(1, BOX, 0.7)],
        [(1, OTHER, 0.95)],  # and here there is none: a false one before the true one
    )
    scores = lvis_scores(said, path)
    assert (scores["AP"], scores["APf"], scores["APr"], scores["APc"]) == pytest.approx((0.75, 1, 0.5, -1))


@pytest.mark.parametrize(("not_exhaustive", "ap"), [([], 0.5), ([1], 1)])
def test_more_boxes_of_a_class_that_is_not_exhaustive_are_no_mistake(official, not_exhaustive, ap):
    path = official(([(1, BOX)], [], not_exhaustive))
    assert lvis_scores(found([(0, OTHER, 0.9), (0, BOX, 0.5)]), path)["AP"] == pytest.approx(ap)


def test_300_boxes_of_a_picture_count_of_all_classes_and_for_fixed_ap_all(official):
    path = official(([(1, BOX)], [], []))
    clutter = [(1, OTHER, 0.9)] * 300  # of a class that was not looked for, but they take the places
    scores = lvis_scores(found([*clutter, (0, BOX, 0.5)]), path)
    assert (scores["AP"], scores["fixed AP"]) == pytest.approx((0, 1))
    assert lvis_scores(found([*clutter[:299], (0, BOX, 0.5)]), path)["AP"] == pytest.approx(1)


def test_nothing_found_is_0_and_nothing_to_find_is_undefined(official):
    assert set(lvis_scores(found([]), official(([(1, BOX)], [], []))).values()) == {0}
    assert set(lvis_scores(found([(0, BOX, 0.5)]), official(([], [1], []))).values()) == {-1}


def test_what_is_missing_is_named(official, tmp_path):
    with pytest.raises(ConfigError, match="--annotations"):
        lvis_scores(found([]), None)
    with pytest.raises(DatasetError, match=r"lvis\.json: categories, id 1: no frequency"):
        lvis_scores(found([]), official(([], [], []), categories=[{"id": 1, "name": "cat"}]))
    with pytest.raises(DatasetError, match="images, id 1: no neg_category_ids"):
        lvis_scores(found([]), official(([], [], []), images=[{"id": 1, "file_name": "1.jpg"}]))
