"""Grounding captions of a split: one JSON object a line, a free text whose phrases have boxes.

A split folder may hold `captions.jsonl` beside its table. Each line is one more training sample:

    {"image_name": "a.png", "caption": "a man behind two dogs",
     "phrases": [{"spans": [[0, 5]], "boxes": [[10, 20, 110, 220]]},
                 {"spans": [[13, 21]], "boxes": [[90, 150, 160, 230], [170, 155, 240, 228]]}]}

Spans are (start, end) in characters (Unicode code points), the end not included; boxes are xyxy_px of the stored
picture. A phrase without a box is a negative: the text names it and the picture does not show it.
"""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.caption_lines import read_caption
from gdino_lightning.data.fields import Box, box_problem, clip_box, shown
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.table import CAPTIONS_NAME, IMAGES_FOLDER
from gdino_lightning.errors import Problems, PromptError
from gdino_lightning.prompt.captions import Caption


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
        DatasetError: The file cannot be used; names file and line of everything bad.
    """
    problems = Problems(folder / CAPTIONS_NAME)
    captions = scan_captions(folder, pictures, problems)
    problems.check()
    return captions


def scan_captions(folder: Path, pictures: Sequence[Picture], problems: Problems) -> list[GroundedPicture]:
    """As `read_captions`, but leave out the lines that cannot be used and say so in `problems`."""
    path = folder / CAPTIONS_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.add(f"{path}: cannot be read ({error.strerror or error}); check the file")
        return []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # or each line would be a problem
        problems.add(f"{path}:1: is not UTF-8; save the file as UTF-8")
        return []
    by_name = {picture.name: picture for picture in pictures}
    captions = []
    # lines of bytes, not of text, which would end at the rarer line ends that a JSON text may hold
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if line.strip():
            try:
                captions.append(_grounded(line, by_name, folder / IMAGES_FOLDER, f"{path}:{number}"))
            except (ValueError, PromptError) as error:
                problems.add(f"{path}:{number}: {error}")
    return captions


def _grounded(line: bytes, pictures: Mapping[str, Picture], images: Path, place: str) -> GroundedPicture:
    """Parse one line; a `ValueError` or `PromptError` says what is wrong with it."""
    name, caption = read_caption(line, place)
    picture = _find(name, pictures, images)
    boxes: list[Box] = []
    labels: list[int] = []
    for index, own_boxes in enumerate(caption.boxes_px):
        found = dict.fromkeys(_clipped(box, picture, f"phrase {index + 1}") for box in own_boxes)
        boxes += found
        labels += [index] * len(found)
    return GroundedPicture(
        picture.path,
        picture.width,
        picture.height,
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        tuple(labels),
        Caption(caption.text, caption.spans),
        place,
    )


def _find(name: str, pictures: Mapping[str, Picture], images: Path) -> Picture:
    if name not in pictures:
        if (images / name).exists():
            raise ValueError(f"picture {shown(name)} cannot be read; replace the picture or remove the line")
        raise ValueError(f"picture {shown(name)} is not in {images}; add the picture or remove the line")
    return pictures[name]


def _clipped(box: Box, picture: Picture, who: str) -> Box:
    if problem := box_problem(box, picture.width, picture.height):
        raise ValueError(f"{who}: {problem}")
    return clip_box(box, picture.width, picture.height)
