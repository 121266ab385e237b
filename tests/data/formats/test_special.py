"""What formats have beyond boxes: crowds, polygons, captions, negatives, missing names."""

import pytest
from formats_factory import COCO, LAYOUTS, ODVG, A, B, hub_table, json_bytes, json_lines, parquet
from voc_factory import write_files

from gdino_lightning.data.check import check_source
from gdino_lightning.data.recognise import open_source


def read(folder, files):
    with open_source(write_files(folder / "data", files)) as source:
        checked = check_source(source, progress=False)
    assert checked.problems == ()
    return {item.picture.name: item for item in checked.pictures}, source.notes


def boxes(item):
    return [(row.label_name, row.box_px) for row in item.rows]


def test_crowds_of_coco_are_left_out_and_counted(tmp_path):
    first, second = COCO["annotations"]
    crowd = {**first, "iscrowd": 1, "bbox": None, "segmentation": {"counts": [1], "size": [30, 40]}}
    pictures, notes = read(
        tmp_path, {"x.json": json_bytes({**COCO, "annotations": [crowd, second]}), "a.png": A, "b.png": B}
    )
    assert boxes(pictures["a.png"]) == [("dog", (5.5, 5.0, 10.5, 10.0))]
    assert notes == ["1 crowd regions left out: they are no boxes of one object"]


def test_polygons_and_rotated_boxes_of_yolo_become_upright_boxes(tmp_path):
    labels = b"0 0.1 0.5 0.5 0.1 0.9 0.5\n1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n"
    pictures, _ = read(tmp_path, {**LAYOUTS["YOLO of a labelling tool"][1], "labels/a.txt": labels})
    assert boxes(pictures["a.png"]) == [("cat", (4.0, 3.0, 36.0, 15.0)), ("dog", (4.0, 3.0, 36.0, 27.0))]


def test_pictures_without_labels_are_negatives_of_yolo_and_counted(tmp_path):
    pictures, notes = read(tmp_path, LAYOUTS["YOLO of a labelling tool"][1])
    assert boxes(pictures["b.png"]) == []
    assert notes == ["1 pictures without a label file are negatives"]


def test_captions_of_odvg_are_put_together_with_the_boxes_of_their_picture(tmp_path):
    head = {"filename": "a.png", "width": 40, "height": 30}
    lines = [
        *ODVG,
        {
            **head,
            "grounding": {
                "caption": "A cat and two dogs; dogs bark.",
                "regions": [
                    {"bbox": [1, 2, 20, 25], "phrase": "a cat"},
                    {"bbox": [[5, 5, 9, 9], [6, 6, 12, 12]], "phrase": "two dogs"},
                    {"bbox": [6, 6, 12, 13], "phrase": ["two dogs"]},
                    {"bbox": [5, 5, 9, 9], "phrase": "", "tokens_positive": [[20, 24]]},
                ],
            },
        },
        {**head, "grounding": {"caption": "nothing", "regions": []}},
    ]
    files = {"train.jsonl": json_lines(lines[:-1]), "a.png": A, "b.png": B}
    pictures, _ = read(tmp_path, files)
    assert len(boxes(pictures["a.png"])) == 2
    (caption,) = pictures["a.png"].captions
    assert caption.text == "A cat and two dogs; dogs bark."
    assert caption.spans == (((0, 5),), ((10, 18),), ((20, 24),))
    assert caption.boxes_px == (
        ((1, 2, 20, 25),),
        ((5, 5, 9, 9), (6, 6, 12, 12), (6, 6, 12, 13)),
        ((5, 5, 9, 9),),
    )
    assert caption.where.endswith("train.jsonl:3")


def test_classes_of_odvg_come_from_a_label_map(tmp_path):
    line = {"filename": "a.png", "detection": {"instances": [{"bbox": [1, 2, 20, 25], "label": 1}]}}
    files = {
        "ann/train.jsonl": json_lines([line]),
        "ann/label_map.json": json_bytes({"0": "cat", "1": "dog"}),
        "a.png": A,
    }
    assert boxes(read(tmp_path, files)[0]["a.png"]) == [("dog", (1.0, 2.0, 20.0, 25.0))]


def test_rows_of_parquet_without_a_name_get_one_of_their_kind(tmp_path):
    pictures, _ = read(tmp_path, {"data/train-0.parquet": parquet(hub_table((None, "x/y.gif")))})
    assert sorted(pictures) == ["train-0000000.png", "train-0000001.png"]


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("../../a.png", "c:\\x\\A.png")])
def test_rows_of_parquet_with_one_name_are_told_apart(tmp_path, names):
    pictures, _ = read(tmp_path, {"data/train-0.parquet": parquet(hub_table(names))})
    assert len(pictures) == 2
    assert all("/" not in name and name.lower().endswith("a.png") for name in pictures)
