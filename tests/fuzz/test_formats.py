"""Annotation files of every format but VOC: any bytes are read or refused by name."""

import pytest
from formats_factory import COCO, LAYOUTS, ODVG, A, B, arrow, hub_table, json_bytes, json_lines, parquet
from fuzzing import answer, check_message, file_of, fuzz, mutated
from hypothesis import example

from gdino_lightning.data.check import check_source
from gdino_lightning.data.recognise import open_source
from gdino_lightning.errors import DatasetError

JSON_TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b'"\\ud800"',
    b"9" * 400,
    b"[" * 9000,
)
GROUNDING = {
    "filename": "b.png",
    "grounding": {"caption": "a cat", "regions": [{"bbox": [1, 2, 9, 9], "phrase": "a cat"}]},
}
METADATA = LAYOUTS["imagefolder"][1]["metadata.jsonl"]
TABLE = LAYOUTS["one CSV"][1]["boxes.csv"]
YAML = LAYOUTS["YOLO with list files"][1]["pets.yaml"]


def check(form: str, name: str, data: bytes, **others: bytes) -> None:
    folder = file_of(data, name).parent
    for other, content in {"a.png": A, "b.png": B, **others}.items():
        (folder / other).write_bytes(content)
    try:
        answer(lambda: _read(form, folder), DatasetError)
    finally:
        for path in folder.iterdir():
            path.unlink()


def _read(form: str, folder) -> None:
    with open_source(folder, form) as source:
        for problem in check_source(source, progress=False).problems:
            check_message(DatasetError(problem.text))


@fuzz(mutated(json_bytes(COCO), JSON_TOKENS), few=150)
@example(json_bytes({**COCO, "categories": [{"id": 3, "name": "\ud800"}]}))
def test_coco(data):
    check("coco", "x.json", data)


@fuzz(mutated(json_lines([*ODVG, GROUNDING]), JSON_TOKENS), few=150)
def test_odvg(data):
    check("odvg", "train.jsonl", data)


@fuzz(mutated(METADATA, JSON_TOKENS), few=150)
def test_imagefolder(data):
    check("imagefolder", "metadata.jsonl", data)


@fuzz(mutated(TABLE, (b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"1e999")), few=150)
def test_tables_of_others(data):
    check("csv", "boxes.csv", data)


@fuzz(
    mutated(b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.1 0.2 0.2\n", (b" ", b"\n", b"\0", b"\xff", b"-", b"nan", b"1e9")),
    few=150,
)
def test_labels_of_yolo(data):
    check("yolo", "a.txt", data, **{"classes.txt": b"cat\ndog\n"})


@fuzz(
    mutated(YAML, (b":", b"\n", b"- ", b"[", b"{", b"&a", b"*a", b"!!python/name:os.system", b"\0", b"\xff")), few=150
)
def test_the_description_of_yolo(data):
    check("yolo", "data.yaml", data, **{"train.txt": b"a.png\n", "val.txt": b"b.png\n"})


@pytest.mark.filterwarnings("ignore")
@fuzz(mutated(parquet(hub_table())), few=150)
def test_parquet(data):
    check("parquet", "train.parquet", data)


@fuzz(mutated(arrow(hub_table())), few=150)
def test_arrow(data):
    check("parquet", "train.arrow", data)
