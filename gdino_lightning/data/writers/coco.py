"""Writes COCO JSON: `annotations/instances_<split>.json`, pictures in `<split>/`."""

import json
from collections.abc import Mapping

from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.caption_lines import json_box
from gdino_lightning.data.fields import Box
from gdino_lightning.data.writers.base import Writer


def _write(splits: Splits, classes: list[str]) -> Mapping[str, bytes]:
    return {f"annotations/instances_{split}.json": _split(split, splits, classes) for split in splits}


def _split(split: str, splits: Splits, classes: list[str]) -> bytes:
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, item in enumerate(splits[split], start=1):
        width, height = item.size
        images.append({"id": image_id, "file_name": item.picture.name, "width": width, "height": height})
        for row in item.rows:
            box = _xywh(row.box_px)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": numbers[row.label_name],
                    "bbox": json_box(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    value = {"images": images, "annotations": annotations, "categories": categories}
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def _xywh(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return x1, y1, x2 - x1, y2 - y1


COCO = Writer(folder_of=str, write=_write)
