"""Writes YOLO: `data.yaml`, pictures in `images/<split>/`, labels in `labels/<split>/`.

Boxes are clipped to their pictures, because YOLO's readers refuse a picture with a box that is not.
"""

from collections.abc import Mapping

import yaml

from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.check import CheckedPicture
from gdino_lightning.data.fields import clip_box
from gdino_lightning.data.writers.base import Writer, stems_apart


def _write(splits: Splits, classes: list[str]) -> Mapping[str, bytes]:
    files = {"data.yaml": _describe(splits, classes)}
    numbers = {label: number for number, label in enumerate(classes)}
    for split, pictures in splits.items():
        names = stems_apart(pictures, ".txt")
        for item in pictures:
            files[f"labels/{split}/{names[item.picture.name]}"] = _labels(item, numbers)
    return files


def _describe(splits: Splits, classes: list[str]) -> bytes:
    # Ultralytics asks for a val split whatever there is
    folders = {split: _folder(split) for split in splits} | {"val": _folder("val" if "val" in splits else "test")}
    if "val" not in splits and "test" not in splits:
        folders["val"] = _folder("train")
    value = {"path": ".", **folders, "names": dict(enumerate(classes))}
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text.encode()


def _labels(item: CheckedPicture, numbers: Mapping[str, int]) -> bytes:
    width, height = item.size
    lines = []
    for row in item.rows:
        x1, y1, x2, y2 = clip_box(row.box_px, width, height)
        cells = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(" ".join([str(numbers[row.label_name]), *map(repr, cells)]) + "\n")
    return "".join(lines).encode()


def _folder(split: str) -> str:
    return f"images/{split}"


YOLO = Writer(folder_of=_folder, write=_write)
