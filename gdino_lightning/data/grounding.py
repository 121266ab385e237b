"""Grounding captions of a split: one JSON object a line, a free text whose phrases have boxes.

A split folder may hold `captions.jsonl` beside its table. Each line is one more training sample:

    {"image_name": "a.png", "caption": "a man behind two dogs",
     "phrases": [{"spans": [[0, 5]], "boxes": [[10, 20, 110, 220]]},
                 {"spans": [[13, 21]], "boxes": [[90, 150, 160, 230], [170, 155, 240, 228]]}]}

Spans are (start, end) in characters (Unicode code points), the end not included; boxes are xyxy_px of the stored
picture. A phrase without a box is a negative: the text names it and the picture does not show it.
"""

import codecs
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.fields import Box, box_problem, clip_box, parse_file_name, parse_number, shown
from gdino_lightning.data.table import CAPTIONS_NAME, IMAGES_FOLDER, Picture
from gdino_lightning.errors import DatasetError, PromptError
from gdino_lightning.prompt.captions import Caption

_LINE_KEYS = ("image_name", "caption", "phrases")
_PHRASE_KEYS = ("spans", "boxes")


@dataclass(frozen=True)
class GroundedPicture:
    """One picture with one caption and the boxes of its phrases.

    Attributes:
        path: File of the picture.
        width: Width of the stored picture in px.
        height: Height of the stored picture in px.
        boxes_px: (N, 4) float32 xyxy_px, clipped to the picture.
        labels: For each of the N boxes the index of its phrase in `caption.spans`.
        caption: The text and where its phrases stand in it.
        place: File and line that it was read from.
    """

    path: Path
    width: int
    height: int
    boxes_px: npt.NDArray[np.float32]
    labels: tuple[int, ...]
    caption: Caption
    place: str

    @property
    def name(self) -> str:
        """File name of the picture, its key in the split."""
        return self.path.name


def read_captions(folder: Path, pictures: Sequence[Picture]) -> list[GroundedPicture]:
    """Read the captions of a split folder in file order; none where it has no captions file.

    Boxes are clipped to their picture; those that repeat an earlier one of their phrase are left out.

    Args:
        folder: The split folder.
        pictures: All pictures of the split, as `read_split` returns them.

    Raises:
        DatasetError: The file or one of its lines cannot be used; names file and line.
    """
    path = folder / CAPTIONS_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    by_name = {picture.name: picture for picture in pictures}
    captions = []
    # lines of bytes, not of text, which would end at the rarer line ends that a JSON text may hold
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if line.strip():
            try:
                captions.append(_grounded(line, by_name, folder / IMAGES_FOLDER, f"{path}:{number}"))
            except (ValueError, PromptError) as error:
                raise DatasetError(f"{path}:{number}: {error}") from error
            except RecursionError as error:
                raise DatasetError(f"{path}:{number}: too many brackets in one another; remove the line") from error
    return captions


def _grounded(line: bytes, pictures: Mapping[str, Picture], images: Path, place: str) -> GroundedPicture:
    """Parse one line; a `ValueError` or `PromptError` says what is wrong with it."""
    image_name, text, phrases = _members(_decode(line), _LINE_KEYS)
    picture = _find(image_name, pictures, images)
    spans: list[tuple[tuple[int, int], ...]] = []
    boxes: list[Box] = []
    labels: list[int] = []
    for index, phrase in enumerate(_list(phrases, "phrases")):
        try:
            own_spans, own_boxes = _members(phrase, _PHRASE_KEYS)
            spans.append(tuple(_span(span) for span in _list(own_spans, "spans")))
            found = dict.fromkeys(_box(box, picture) for box in _list(own_boxes, "boxes"))
        except ValueError as error:
            raise ValueError(f"phrase {index + 1}: {error}") from error
        boxes += found
        labels += [index] * len(found)
    return GroundedPicture(
        picture.path,
        picture.width,
        picture.height,
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        tuple(labels),
        Caption(_text(text), tuple(spans)),
        place,
    )


def _decode(line: bytes) -> object:
    try:
        value: object = json.loads(
            line.decode(),
            object_pairs_hook=_distinct,
            parse_int=lambda text: int(_number(text)),
            parse_float=_number,
            parse_constant=_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON at column {error.colno} ({error.msg}); write one object on each line") from error
    return value


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The members of an object, whose keys must differ: of two alike, JSON readers drop one silently."""
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {shown(repeated)} appears twice; remove one")
    return members


def _number(text: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise ValueError(f"a number {error}") from error


def _members(value: object, keys: Sequence[str]) -> list[object]:
    """The values of an object that has exactly these keys, in their order."""
    expected = f"an object with the keys {', '.join(keys)}"
    if not isinstance(value, dict):
        raise ValueError(f"{_brief(value)} is not {expected}")
    for key in keys:
        if key not in value:
            raise ValueError(f"key {key} is missing; write {expected}")
    for key in value:
        if key not in keys:
            raise ValueError(f"key {shown(key)} is unknown; write {expected}")
    return [value[key] for key in keys]


def _find(image_name: object, pictures: Mapping[str, Picture], images: Path) -> Picture:
    if not isinstance(image_name, str):
        raise ValueError(f"image_name is {_brief(image_name)}, expected a text")
    try:
        name = parse_file_name(image_name)
    except ValueError as error:
        raise ValueError(f"image_name {error}") from error
    if name not in pictures:
        raise ValueError(f"picture {shown(name)} is not in {images}; add the picture or remove the line")
    return pictures[name]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"caption is {_brief(value)}, expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"caption is {shown(value)}, which holds half of a character; write it in full") from error
    return value


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {_brief(value)}, expected a list")
    return value


def _span(value: object) -> tuple[int, int]:
    # by type, not isinstance: true and false are no numbers
    if not (isinstance(value, list) and len(value) == 2 and all(type(place) is int for place in value)):
        raise ValueError(f"span {_brief(value)} is not [start, end] in whole characters")
    return value[0], value[1]


def _box(value: object, picture: Picture) -> Box:
    """An xyxy_px box, clipped to its picture."""
    if not (isinstance(value, list) and len(value) == 4 and all(type(corner) in (int, float) for corner in value)):
        raise ValueError(f"box {_brief(value)} is not [x1, y1, x2, y2] in px")
    x1, y1, x2, y2 = (float(corner) for corner in value)
    if problem := box_problem((x1, y1, x2, y2), picture.width, picture.height):
        raise ValueError(problem)
    return clip_box((x1, y1, x2, y2), picture.width, picture.height)


def _brief(value: object) -> str:
    """A JSON value as it is written, shortened."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
