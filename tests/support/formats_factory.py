"""One small dataset, written by hand in every accepted format: the truth that readers are held against.

Two pictures of 40x30 px: a.png shows a cat and a dog, b.png shows neither.
"""

import io
import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from voc_factory import png, voc_xml

A, B = png(seed=1), png(seed=2)
CAT = ("cat", (1.0, 2.0, 20.0, 25.0))
DOG = ("dog", (5.5, 5.0, 10.5, 10.0))
TRUTH = {"a.png": {CAT, DOG}, "b.png": set()}

Files = dict[str, bytes]

COCO = {
    "info": {"year": 2026},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 19, 23], "area": 437, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [5.5, 5, 5, 5], "iscrowd": 0},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 8, "name": "bird"}],
}
YOLO_LABELS = b"0 0.2625 0.45 0.475 0.7666666666666667\n1 0.2 0.25 0.125 0.16666666666666666\n"
ODVG = [
    {
        "filename": "a.png",
        "height": 30,
        "width": 40,
        "detection": {
            "instances": [
                {"bbox": [1, 2, 20, 25], "label": 0, "category": "cat"},
                {"bbox": [5.5, 5, 10.5, 10], "label": 1, "category": "dog"},
            ]
        },
    },
    {"filename": "b.png", "height": 30, "width": 40, "detection": {"instances": []}},
]
FEATURES = {
    "image": {"_type": "Image"},
    "objects": {
        "bbox": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"},
        "category": {"feature": {"names": ["dog", "cat"], "_type": "ClassLabel"}, "_type": "Sequence"},
    },
}


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def json_lines(values: list[object]) -> bytes:
    return b"".join(json_bytes(value) + b"\n" for value in values)


def hub_table(names: tuple[str | None, str | None] = ("a.png", "b.png")) -> pa.Table:
    """What `datasets` writes for object detection, the features in the schema."""
    image = pa.array(
        [{"bytes": data, "path": name} for data, name in zip((A, B), names, strict=True)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    objects = pa.array(
        [
            {"bbox": [[1.0, 2.0, 19.0, 23.0], [5.5, 5.0, 5.0, 5.0]], "category": [1, 0]},
            {"bbox": [], "category": []},
        ],
        pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))]),
    )
    table = pa.table({"image": image, "objects": objects})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=1)
    return file.getvalue()


def arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def csv_table(*columns: str, sizes: bool = True) -> bytes:
    size = ",40,30" if sizes else ""
    return (",".join(columns) + "\n" + f"cat,1,2,20,25,a.png{size}\n" + f"dog,5.5,5,10.5,10,a.png{size}\n").encode()


OWN_COLUMNS = ("label_name", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "image_name", "image_width", "image_height")
VOC_A = voc_xml("a.png", [CAT, DOG])
VOC_B = voc_xml("b.png")

# layout -> (format, files)
LAYOUTS: Mapping[str, tuple[str, Files]] = {
    "VOC": (
        "voc",
        {"images/a.png": A, "images/b.png": B, "annotations/a.xml": VOC_A, "annotations/b.xml": VOC_B},
    ),
    "VOC devkit": (
        "voc",
        {
            "VOCdevkit/VOC2012/JPEGImages/a.png": A,
            "VOCdevkit/VOC2012/JPEGImages/b.png": B,
            "VOCdevkit/VOC2012/JPEGImages/unlisted.png": A,
            "VOCdevkit/VOC2012/Annotations/a.xml": VOC_A,
            "VOCdevkit/VOC2012/Annotations/b.xml": VOC_B,
            "VOCdevkit/VOC2012/Annotations/unlisted.xml": VOC_A,
            "VOCdevkit/VOC2012/ImageSets/Main/train.txt": b"a\n",
            "VOCdevkit/VOC2012/ImageSets/Main/val.txt": b"b\n",
            "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt": b"a\nb\n",
            "VOCdevkit/VOC2012/ImageSets/Main/cat_train.txt": b"a 1\nb -1\n",
        },
    ),
    "Roboflow VOC": (
        "voc",
        {
            "README.roboflow.txt": b"",
            "train/a.png": A,
            "train/a.xml": VOC_A,
            "valid/b.png": B,
            "valid/b.xml": VOC_B,
        },
    ),
    "tables of this project": (
        "csv",
        {
            "train/annotations.csv": csv_table(*OWN_COLUMNS),
            "train/images/a.png": A,
            "train/labels/a.xml": VOC_A,
            "test/annotations.csv": ",".join(OWN_COLUMNS).encode() + b"\n",
            "test/images/b.png": B,
        },
    ),
    "one CSV": (
        "csv",
        {
            "boxes.csv": csv_table("Class", "xmin", "ymin", "xmax", "ymax", "filename", sizes=False),
            "images/a.png": A,
            "images/b.png": B,
        },
    ),
    "Roboflow CSV": (
        "csv",
        {
            "train/_annotations.csv": b"filename,width,height,class,xmin,ymin,xmax,ymax\n"
            b"a.png,40,30,cat,1,2,20,25\na.png,40,30,dog,5.5,5,10.5,10\n",
            "train/a.png": A,
            "valid/_annotations.csv": b"filename,width,height,class,xmin,ymin,xmax,ymax\n",
            "valid/b.png": B,
        },
    ),
    "COCO": (
        "coco",
        {
            "annotations/instances_train2017.json": json_bytes({**COCO, "images": COCO["images"][:1]}),
            "annotations/instances_val2017.json": json_bytes({**COCO, "images": COCO["images"][1:], "annotations": []}),
            "annotations/person_keypoints_train2017.json": json_bytes(COCO),
            "annotations/captions_train2017.json": json_bytes({"images": [], "annotations": []}),
            "train2017/a.png": A,
            "val2017/b.png": B,
        },
    ),
    "one COCO file": ("coco", {"any.json": json_bytes(COCO), "pictures/a.png": A, "pictures/b.png": B}),
    "Roboflow COCO": (
        "coco",
        {
            "train/_annotations.coco.json": json_bytes({**COCO, "images": COCO["images"][:1]}),
            "train/a.png": A,
            "valid/_annotations.coco.json": json_bytes({**COCO, "images": COCO["images"][1:], "annotations": []}),
            "valid/b.png": B,
        },
    ),
    "YOLO": (
        "yolo",
        {
            "data.yaml": b"path: ../datasets/pets\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n",
            "images/train/a.png": A,
            "labels/train/a.txt": YOLO_LABELS,
            "images/val/b.png": B,
        },
    ),
    "Roboflow YOLO": (
        "yolo",
        {
            "data.yaml": b"train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [cat, dog]\n",
            "train/images/a.png": A,
            "train/labels/a.txt": YOLO_LABELS,
            "valid/images/b.png": B,
            "valid/labels/b.txt": b"",
        },
    ),
    "YOLO with list files": (
        "yolo",
        {
            "pets.yaml": b"train: train.txt\nval: [val.txt]\nnames: [cat, dog]\n",
            "train.txt": b"./images/a.png\n",
            "val.txt": b"/home/me/pets/images/b.png\n",
            "images/a.png": A,
            "labels/a.txt": YOLO_LABELS,
            "images/b.png": B,
        },
    ),
    "YOLO of a labelling tool": (
        "yolo",
        {"classes.txt": b"cat\ndog\n", "images/a.png": A, "labels/a.txt": YOLO_LABELS, "images/b.png": B},
    ),
    "YOLO beside the pictures": (
        "yolo",
        {"obj.names": b"cat\r\ndog\r\n", "obj/a.png": A, "obj/a.txt": YOLO_LABELS, "obj/b.png": B, "obj/b.txt": b""},
    ),
    "ODVG": (
        "odvg",
        {"train.jsonl": json_lines(ODVG[:1]), "val.jsonl": json_lines(ODVG[1:]), "x/a.png": A, "x/b.png": B},
    ),
    "imagefolder": (
        "imagefolder",
        {
            "metadata.jsonl": json_lines(
                [
                    {
                        "file_name": "a.png",
                        "objects": {"bbox": [[1, 2, 19, 23], [5.5, 5, 5, 5]], "categories": ["cat", "dog"]},
                    },
                    {"file_name": "b.png", "objects": []},
                ]
            ),
            "a.png": A,
            "b.png": B,
        },
    ),
    "Parquet": (
        "parquet",
        {
            "README.md": b"",
            "data/train-00000-of-00001.parquet": parquet(hub_table().slice(0, 1)),
            "data/validation-00000-of-00001.parquet": parquet(hub_table().slice(1)),
        },
    ),
    "Arrow": ("parquet", {"train/data-00000-of-00001.arrow": arrow(hub_table()), "dataset_dict.json": b"{}"}),
}
