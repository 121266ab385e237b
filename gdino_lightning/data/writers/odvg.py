"""Writes ODVG: `<split>.jsonl` with detection and grounding lines, `label_map.json`, pictures in `<split>/`."""

import json
from collections.abc import Iterator, Mapping

from gdino_lightning.data.annotation import AnnotatedCaption
from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.caption_lines import json_box
from gdino_lightning.data.check import CheckedPicture
from gdino_lightning.data.writers.base import Writer


def _write(splits: Splits, classes: list[str]) -> Mapping[str, bytes]:
    numbers = {label: number for number, label in enumerate(classes)}
    files = {"label_map.json": _line({str(number): label for label, number in numbers.items()})}
    for split, pictures in splits.items():
        files[f"{split}.jsonl"] = b"".join(_line(each) for item in pictures for each in _lines(item, numbers))
    return files


def _lines(item: CheckedPicture, numbers: Mapping[str, int]) -> Iterator[Mapping[str, object]]:
    width, height = item.size
    head = {"filename": item.picture.name, "height": height, "width": width}
    if item.rows or not item.captions:
        instances = [
            {"bbox": json_box(row.box_px), "label": numbers[row.label_name], "category": row.label_name}
            for row in item.rows
        ]
        yield {**head, "detection": {"instances": instances}}
    for caption in item.captions:
        yield {**head, "grounding": {"caption": caption.text, "regions": _regions(caption)}}


def _regions(caption: AnnotatedCaption) -> list[dict[str, object]]:
    return [
        {
            "bbox": json_box(boxes[0]) if len(boxes) == 1 else [json_box(box) for box in boxes],
            "phrase": " ".join(caption.text[start:end] for start, end in spans),
            "tokens_positive": [list(span) for span in spans],
        }
        for spans, boxes in zip(caption.spans, caption.boxes_px, strict=True)
    ]


def _line(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


ODVG = Writer(folder_of=str, write=_write, keeps_captions=True)
