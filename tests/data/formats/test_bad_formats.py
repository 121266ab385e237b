"""What can be wrong with each format: told with file, line and fix, and left out by itself."""

import re

import pytest
from formats_factory import COCO, LAYOUTS, ODVG, A, hub_table, json_bytes, json_lines, parquet
from voc_factory import write_files

from gdino_lightning.data.check import check_source
from gdino_lightning.data.recognise import open_source
from gdino_lightning.errors import DatasetError

COCO_FILES = {"any.json": b"", "a.png": A, "b.png": A}
YOLO_FILES = LAYOUTS["YOLO of a labelling tool"][1]
ODVG_FILES = {"a.png": A, "b.png": A}


def coco(**changes) -> dict[str, bytes]:
    return {**COCO_FILES, "any.json": json_bytes({**COCO, **changes})}


def coco_object(**changes) -> dict[str, bytes]:
    first, *others = COCO["annotations"]
    return coco(annotations=[{**first, **changes}, *others])


def odvg(line: object) -> dict[str, bytes]:
    return {**ODVG_FILES, "x.jsonl": json_lines([*ODVG, line])}


def grounding(**changes) -> dict[str, object]:
    value = {"caption": "a cat", "regions": [{"bbox": [1, 2, 9, 9], "phrase": "a cat"}], **changes}
    return {"filename": "a.png", "grounding": value}


def yolo(labels: bytes, **files: bytes) -> dict[str, bytes]:
    return {**YOLO_FILES, "labels/a.txt": labels, **files}


def table(*lines: bytes) -> dict[str, bytes]:
    head = b"label,x1,y1,x2,y2,image,width,height\n"
    return {"boxes.csv": head + b"cat,1,2,9,9,b.png,40,30\n" + b"\n".join(lines), "a.png": A, "b.png": A}


def metadata(line: object) -> dict[str, bytes]:
    good = {"file_name": "b.png", "objects": {"bbox": [], "category": []}}
    return {"metadata.jsonl": json_lines([good, line]), "a.png": A, "b.png": A}


PROBLEMS = {
    "COCO: a box without its picture": (coco_object(image_id=99), r"any.json: annotation 1: image_id 99 is no image"),
    "COCO: an unknown class": (coco_object(category_id=4), r"any.json: annotation 1: category_id 4 is no category"),
    "COCO: no box": (coco_object(bbox=[]), r"any.json: annotation 1: bbox \[\] is not \[x, y, width, height\] in px"),
    "COCO: a text as a number": (
        coco_object(bbox=[1, 2, "3", 4]),
        r"any.json: annotation 1: bbox \[1, 2, \"3\", 4\] is not",
    ),
    "COCO: a box outside": (
        coco_object(bbox=[50, 2, 3, 4]),
        r"any.json: annotation 1 \(cat\): box .* outside the picture",
    ),
    "COCO: a negative width": (coco_object(bbox=[5, 2, -3, 4]), r"any.json: annotation 1 \(cat\): box .* swapped\?"),
    "COCO: a missing picture": (
        coco(images=[*COCO["images"], {"id": 1, "file_name": "c.png"}]),
        r"any.json: no picture 'c.png'; add the picture or remove its annotation",
    ),
    "COCO: another size": (
        coco(images=[{**COCO["images"][0], "width": 30, "height": 40}, COCO["images"][1]]),
        r"any.json: size is 30x40 px, the picture has 40x30; swapped\?",
    ),
    "COCO: two pictures of one id": (
        coco(images=[*COCO["images"], {"id": 7, "file_name": "b.png"}]),
        r"any.json: image 3: id 7 appears twice",
    ),
    "COCO: a picture twice": (
        coco(images=[*COCO["images"], {"id": 8, "file_name": "b.png"}]),
        r"any.json: both are for picture 'b.png'; keep one",
    ),
    "COCO: a side that is no number": (
        coco(images=[*COCO["images"], {"id": 1, "file_name": "b.png", "width": 0, "height": 3}]),
        r"any.json: image 3: width is '0', expected whole pixels",
    ),
    "YOLO: too few numbers": (yolo(b"0 0.5 0.5 0.5\n"), r"labels/a.txt:1: object 1: 4 values, expected class cx cy"),
    "YOLO: an unknown class": (
        yolo(b"2 0.5 0.5 0.1 0.1\n"),
        r"a.txt:1: object 1: class '2', but classes.txt names 0 to 1",
    ),
    "YOLO: pixels": (yolo(b"0 20 15 5 5\n"), r"a.txt:1: object 1: '20' is no fraction of the picture; YOLO divides by"),
    "YOLO: no number": (yolo(b"\n0 a 0.5 0.5 0.5\n"), r"labels/a.txt:2: object 1: is 'a', expected a number"),
    "YOLO: no UTF-8": (yolo(b"\xff\n"), r"labels/a.txt:1: is not UTF-8"),
    "YOLO: labels without a picture": (
        {**YOLO_FILES, "labels/c.txt": b""},
        r"labels/c.txt: no picture of this name; add it or remove the file",
    ),
    "ODVG: no JSON": ({**ODVG_FILES, "x.jsonl": json_lines(ODVG) + b"{"}, r"x.jsonl:3: is no JSON at column 2"),
    "ODVG: no name of a picture": (odvg({"detection": {}}), r"x.jsonl:3: filename is null, expected a text"),
    "ODVG: a class without a name": (
        odvg({"filename": "a.png", "detection": {"instances": [{"bbox": [1, 2, 3, 4], "label": 7}]}}),
        r"x.jsonl:3: object 1: label 7 has no name: give a category, or a label_map.json",
    ),
    "ODVG: no list": (
        odvg({"filename": "a.png", "detection": {"instances": {}}}),
        r"x.jsonl:3: instances is \{\}, expected a list",
    ),
    "ODVG: a phrase that is not there": (
        odvg(grounding(caption="a dog")),
        r'x.jsonl:3: region 1: phrase "a cat" is not in the caption "a dog"',
    ),
    "ODVG: a phrase within a word": (
        odvg(grounding(caption="a catalogue")),
        r"region 1: phrase \"a cat\" is not in the",
    ),
    "ODVG: a bad span": (
        odvg(grounding(regions=[{"bbox": [1, 2, 9, 9], "tokens_positive": [[0, 99]]}])),
        r"x.jsonl:3: caption 'a cat': span \(0, 99\) marks no word",
    ),
    "ODVG: a box outside": (
        odvg(grounding(regions=[{"bbox": [50, 2, 99, 9], "phrase": "cat"}])),
        r"x.jsonl:3: box .* lies outside the picture",
    ),
    "CSV: no number": (table(b"cat,one,2,9,9,a.png,40,30"), r"boxes.csv:3: bbox_x1 is 'one', expected a number"),
    "CSV: no class": (table(b",1,2,9,9,a.png,40,30"), r"boxes.csv:3: label_name is empty, expected a class name"),
    "CSV: a missing picture": (table(b"cat,1,2,9,9,c.png,40,30"), r"boxes.csv:3: no picture 'c.png'"),
    "CSV: another size": (table(b"cat,1,2,9,9,a.png,41,30"), r"boxes.csv:3: size is 41x30 px, the picture has 40x30"),
    "CSV: two sizes": (
        table(b"cat,1,2,9,9,a.png,40,30", b"cat,1,2,8,9,a.png,41,30"),
        r"boxes.csv: a.png is 40x30 and 41x30 px; keep one",
    ),
    "imagefolder: a number as a class": (
        metadata({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "category": [0]}}),
        r"metadata.jsonl:2: object 1: category 0 has no name; the features of the dataset name 0 classes",
    ),
    "imagefolder: lists of different lengths": (
        metadata({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "category": []}}),
        r"metadata.jsonl:2: objects: lists of different lengths",
    ),
    "imagefolder: no objects": (metadata({"file_name": "a.png"}), r"metadata.jsonl:2: objects is missing"),
    "Parquet: a class that has no name": (
        {"train.parquet": parquet(hub_table().replace_schema_metadata({}))},
        r"train.parquet: row 1: object 1: category 1 has no name; the features of the dataset name 0 classes",
    ),
}


def problems_of(folder) -> list[str]:
    with open_source(folder) as source:
        return [problem.text for problem in check_source(source, progress=False).problems]


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_used_is_told_and_the_rest_is(tmp_path, case):
    files, message = PROBLEMS[case]
    problems = problems_of(write_files(tmp_path / "data", files))
    assert [text for text in problems if re.search(message, text)], problems
    assert len(problems) <= 3
    assert all(len(text.splitlines()) == 1 for text in problems)


REFUSED = {
    "COCO: no JSON": ({**COCO_FILES, "any.json": b'{"images": ['}, r"any.json:1:13: no JSON"),
    "COCO: no categories": (
        {**COCO_FILES, "any.json": b'{"images": []}'},
        r"any.json: annotations is missing, and COCO has",
    ),
    "COCO: no list": (coco(images={}), r"any.json: images is \{\}, expected a list"),
    "COCO: a class without a name": (
        coco(categories=[{"id": 1}]),
        r"any.json: category 1: name is null, expected a text",
    ),
    "COCO: a class twice": (
        coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
        r"any.json: category 2: id 1 appears twice",
    ),
    "COCO: no picture at all": (
        {"any.json": json_bytes(COCO), "c.png": A},
        r"no picture 'a.png'.* no picture that any.json",
    ),
    "COCO: NaN": ({**COCO_FILES, "any.json": b'{"images": [NaN]}'}, r"any.json: no usable JSON \('NaN is no number"),
    "YOLO: a folder that is not there": (
        {**YOLO_FILES, "data.yaml": b"train: images/train\nnames: [cat]\n"},
        r"data.yaml: train: no picture at 'images/train'; correct the path",
    ),
    "YOLO: no names": (
        {**YOLO_FILES, "data.yaml": b"train: images\nnames: 7\n"},
        r"data.yaml: names is '7', expected a list of class names",
    ),
    "YOLO: a gap in the numbers": (
        {**YOLO_FILES, "data.yaml": b"train: images\nnames: {0: cat, 2: dog}\n"},
        r"data.yaml: names are not numbered from 0 on; number them 0 to 1",
    ),
    "YOLO: no YAML": ({**YOLO_FILES, "data.yaml": b"names: [\n"}, r"data.yaml: no YAML"),
    "YOLO: a list file with a missing picture": (
        {**YOLO_FILES, "data.yaml": b"train: train.txt\nnames: [cat, dog]\n", "train.txt": b"images/a.png\nc.png\n"},
        r"train.txt:2: no picture 'c.png'",
    ),
    "CSV: rows of different lengths": (table(b"cat,1,2,9,9,a.png,40,30,9"), r"boxes.csv:3: 9 fields, the header has 8"),
    "Parquet: damaged": (
        {"train.parquet": parquet(hub_table())[:-9]},
        r"train.parquet: damaged \(.*\); download it again",
    ),
    "Arrow: damaged": ({"train.arrow": b"ARROW1"}, r"train.arrow: damaged \(.*\); download it again"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_at_all_is_refused(tmp_path, case):
    files, message = REFUSED[case]
    with pytest.raises(DatasetError, match=message) as raised:
        problems_of(write_files(tmp_path / "data", files))
    assert len(str(raised.value).splitlines()) == 1
