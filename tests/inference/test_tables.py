import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO
from voc_factory import png

from gdino_lightning.data import pictures
from gdino_lightning.inference import tables
from gdino_lightning.inference.journal import PictureResult

BOXES = ((1.5, 2.0, 30.0, 25.25), (10.0, 5.0, 20.0, 15.0))
RESULTS = [
    PictureResult("a.png", "a.png", None, 40, 30, 1, BOXES, (0.9, 0.4), (1, 0)),
    PictureResult("b.png", "b.png", None, 40, 30),
    PictureResult("turned.png", "turned.png", None, 30, 40, 6, ((20.0, 0.0, 30.0, 15.0),), (0.5,), (0,)),
]


def test_pycocotools_loads_the_results(tmp_path, capsys):
    tables.write_coco(tmp_path, RESULTS, ["cat", "red dog"])
    truth = COCO(str(tmp_path / "images.json"))
    found = truth.loadRes(str(tmp_path / "detections.json"))
    assert [cat["name"] for cat in truth.loadCats(truth.getCatIds())] == ["cat", "red dog"]
    assert [(each["file_name"], each["width"], each["height"]) for each in truth.loadImgs([1, 2, 3])] == [
        ("a.png", 40, 30),
        ("b.png", 40, 30),
        ("turned.png", 40, 30),
    ]
    assert truth.imgs[3]["exif_orientation"] == 6
    assert found.imgToAnns[1][0]["bbox"] == [1.5, 2.0, 28.5, 23.25]
    assert [each["category_id"] for each in found.imgToAnns[1]] == [2, 1]
    assert found.imgToAnns[2] == []
    assert found.imgToAnns[3][0]["bbox"] == [0.0, 0.0, 15.0, 10.0]


@pytest.mark.parametrize("results", [[], RESULTS[1:2]])
def test_nothing_found_gives_an_empty_list(tmp_path, results):
    tables.write_coco(tmp_path, results, ["cat"])
    tables.write_csv(tmp_path, results, ["cat"])
    assert json.loads((tmp_path / "detections.json").read_text()) == []
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == len(results)
    assert (tmp_path / "detections.csv").read_text().count("\n") == 1


def test_the_table_reader_of_the_project_reads_the_csv(tmp_path: Path):
    tables.write_csv(tmp_path, RESULTS[:2], ["cat", "red dog"])
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(png())
    (tmp_path / "detections.csv").rename(tmp_path / "annotations.csv")
    first, second = pictures.read_split(tmp_path)
    assert first.boxes_px.tolist() == [list(box) for box in BOXES]
    assert first.labels == ("red dog", "cat")
    assert second.labels == ()


def test_a_failure_leaves_the_older_file(tmp_path):
    tables.write_csv(tmp_path, RESULTS, ["cat", "red dog"])
    before = (tmp_path / "detections.csv").read_text()
    with pytest.raises(IndexError):
        tables.write_csv(tmp_path, RESULTS, ["cat"])
    assert (tmp_path / "detections.csv").read_text() == before
    assert len(list(tmp_path.iterdir())) == 1
