"""COCO's twelve numbers are those of pycocotools, by COCO's own JSON and by the tables."""

import contextlib
import io
import json

import numpy as np
import pytest
from federated import draw, record
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gdino_lightning.errors import DatasetError
from gdino_lightning.evaluation.protocols.coco import coco_scores
from gdino_lightning.evaluation.protocols.official import results_of
from gdino_lightning.evaluation.records import RecordSet

ANNOTATION = {"id": 1, "image_id": 100, "category_id": 2, "area": 12}
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def by_pycocotools(official, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = official
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize(("seed", "clutter"), [(0, 15), (1, 40), (2, 400)])
def test_numbers_are_those_of_pycocotools_with_crowds_and_areas_of_masks(tmp_path, seed, clutter):
    official, found = draw(seed, clutter)
    rng = np.random.default_rng(seed)
    for each in official["annotations"]:
        each["iscrowd"] = int(rng.random() < 0.2)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(official))
    scores = coco_scores(found, path)
    assert tuple(scores) == NAMES
    expected = by_pycocotools(official, results_of(found, official, path))
    np.testing.assert_allclose(list(scores.values()), expected, atol=1e-9)


def test_without_its_json_the_tables_are_the_truth():
    box, other = (10, 20, 110, 80), (200, 200, 240, 240)
    records = (
        record(4, [(0, box), (1, other)], [(0, box, 0.9), (1, other, 0.8)]),
        record(7, [(0, other)], [(0, box, 0.95), (0, other, 0.5)]),
    )
    scores = coco_scores(RecordSet(("cat", "dog"), ("b.png", "a.png"), records), None)
    official = {
        "images": [{"id": 4}, {"id": 7}],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 0, "bbox": [10, 20, 100, 60], "area": 6000, "iscrowd": 0},
            {"id": 2, "image_id": 4, "category_id": 1, "bbox": [200, 200, 40, 40], "area": 1600, "iscrowd": 0},
            {"id": 3, "image_id": 7, "category_id": 0, "bbox": [200, 200, 40, 40], "area": 1600, "iscrowd": 0},
        ],
    }
    said = [(4, 0, [10, 20, 100, 60], 0.9), (4, 1, [200, 200, 40, 40], 0.8)]
    said += [(7, 0, [10, 20, 100, 60], 0.95), (7, 0, [200, 200, 40, 40], 0.5)]
    results = [dict(zip(("image_id", "category_id", "bbox", "score"), each, strict=True)) for each in said]
    np.testing.assert_allclose(list(scores.values()), by_pycocotools(official, results), atol=1e-7)


def test_nothing_found_is_0_and_nothing_to_find_is_undefined():
    def scores(truth, found):
        return set(coco_scores(RecordSet(("cat",), ("a.png",), (record(0, truth, found),)), None).values())

    assert scores([(0, (1, 2, 30, 40))], []) == {0}
    assert scores([], [(0, (1, 2, 30, 40), 0.5)]) == {-1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": [{"id": 100, "file_name": "other.jpg"}]}, "does not name the test's pictures 0000.jpg"),
        ({"categories": [{"id": 2, "name": "c0"}]}, "has no category c1"),
        ({"images": None}, "is no JSON of a benchmark"),
        ({"categories": [{"id": 2}]}, "has no name"),
        ({"annotations": [{"id": 1, "image_id": 100, "bbox": [1, 2, 3, 4], "area": 12}]}, "has no category_id"),
        ({"annotations": [[1, 2, 3, 4]]}, "has no id"),
        ({"annotations": [ANNOTATION | {"bbox": ["1", 2, 3, 4]}]}, "bbox is not"),
        ({"annotations": [ANNOTATION | {"bbox": [1, 2, 3]}]}, "bbox is not"),
    ],
)
def test_a_json_of_something_else_is_refused(tmp_path, change, said):
    official, found = draw(0, 15)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(official | change))
    with pytest.raises(DatasetError, match=said) as raised:
        coco_scores(found, path)
    assert str(raised.value).startswith(str(path))


def test_pictures_that_were_not_tested_are_counted(tmp_path):
    official, found = draw(0, 15)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(official))
    half = RecordSet(found.class_names, found.picture_names[:20], found.records[:20])
    with pytest.raises(DatasetError, match=r"5 of its 25 pictures were not tested \(0020\.jpg"):
        coco_scores(half, path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    _, found = draw(0, 15)
    with pytest.raises(DatasetError, match="cannot be read"):
        coco_scores(found, tmp_path / "missing.json")
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match=r"cut\.json:1:\d+: no JSON"):
        coco_scores(found, tmp_path / "cut.json")
