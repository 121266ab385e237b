"""The lines of `captions.jsonl`: what `gdino_lightning.data.grounding` describes, read and written."""

import json
from collections.abc import Iterable, Sequence

from gdino_lightning.data.annotation import AnnotatedCaption
from gdino_lightning.data.fields import Box, format_number, parse_file_name, shown
from gdino_lightning.data.json_values import box_of, brief, list_of, load_line, span_of, text_of

_MOST_BYTES = 1_000_000  # of a line; a prompt holds 256 tokens
_LINE_KEYS = ("image_name", "caption", "phrases")
_PHRASE_KEYS = ("spans", "boxes")


def read_caption(line: bytes, where: str) -> tuple[str, AnnotatedCaption]:
    """Parse one line.

    Args:
        line: Its bytes.
        where: File and line, for messages.

    Returns:
        The name of the picture and its caption.

    Raises:
        ValueError: It cannot be used; says what is wrong with it.
    """
    image_name, text, phrases = _members(load_line(line, _MOST_BYTES), _LINE_KEYS)
    try:
        name = parse_file_name(text_of(image_name, "image_name"))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith("image_name") else f"image_name {error}") from error
    spans: list[tuple[tuple[int, int], ...]] = []
    boxes_px: list[tuple[Box, ...]] = []
    for index, phrase in enumerate(list_of(phrases, "phrases"), start=1):
        try:
            own_spans, own_boxes = _members(phrase, _PHRASE_KEYS)
            spans.append(tuple(span_of(span) for span in list_of(own_spans, "spans")))
            boxes_px.append(tuple(box_of(box, "box") for box in list_of(own_boxes, "boxes")))
        except ValueError as error:
            raise ValueError(f"phrase {index}: {error}") from error
    return name, AnnotatedCaption(where, text_of(text, "caption"), tuple(spans), tuple(boxes_px))


def write_captions(captions: Iterable[tuple[str, AnnotatedCaption]]) -> bytes:
    """Return the file of captions, each with the name of its picture, in their order."""
    lines = [
        json.dumps({"image_name": name, "caption": caption.text, "phrases": _phrases(caption)}, ensure_ascii=False)
        for name, caption in captions
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def json_box(box: Box) -> list[float]:
    """A box as JSON has it: whole numbers without a point."""
    return [json.loads(format_number(corner)) for corner in box]


def _phrases(caption: AnnotatedCaption) -> list[dict[str, object]]:
    return [
        {"spans": [list(span) for span in spans], "boxes": [json_box(box) for box in boxes]}
        for spans, boxes in zip(caption.spans, caption.boxes_px, strict=True)
    ]


def _members(value: object, keys: Sequence[str]) -> list[object]:
    """The values of an object that has exactly these keys, in their order."""
    expected = f"an object with the keys {', '.join(keys)}"
    if not isinstance(value, dict):
        raise ValueError(f"{brief(value)} is not {expected}")
    for key in keys:
        if key not in value:
            raise ValueError(f"key {key} is missing; write {expected}")
    for key in value:
        if key not in keys:
            raise ValueError(f"key {shown(key)} is unknown; write {expected}")
    return [value[key] for key in keys]
