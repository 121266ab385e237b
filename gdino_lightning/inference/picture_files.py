"""The files that a run writes for each picture: drawings, and labels to train on.

```
<output>/pictures/<name>                      boxes drawn on the upright picture
<output>/voc/{images,annotations}/            what `gdino prepare --source <output>/voc` reads
<output>/yolo/{images,labels}/, data.yaml     class x_centre y_centre width height, relative to the picture
```

Labels are in stored pixels and lie beside the stored picture, because that is what trainers read.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import torch
import yaml
from lxml import etree

from gdino_lightning.boxes import xyxy_px_to_cxcywh_norm
from gdino_lightning.data.fields import IMAGE_SUFFIXES, Box, format_number
from gdino_lightning.errors import ConfigError
from gdino_lightning.files import part_of, write_atomic
from gdino_lightning.inference.draw import Image, annotate, annotate_with_legend, colors_of, encode
from gdino_lightning.inference.journal import PictureResult
from gdino_lightning.inference.pictures import Pixels

PICTURES, VOC, YOLO = "pictures", "voc", "yolo"
FRAME_QUALITY = 95  # of frames that labels refer to


class PictureFiles:
    """Writes what is wanted for each picture.

    Args:
        output: Folder of the run.
        kinds: Which of `PICTURES`, `VOC` and `YOLO`; others are none of its business.
        names: What the labels mean.
    """

    def __init__(self, output: Path, kinds: Iterable[str], names: Sequence[str]) -> None:
        self._output, self._names, self._colors = output, names, colors_of(names)
        self._drawn = PICTURES in kinds
        self._labelled = [each for each in (VOC, YOLO) if each in kinds]

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse pictures whose labels would overwrite each other.

        Raises:
            ConfigError: Two have the same name but for the suffix, and labels are wanted.
        """
        seen: dict[str, str] = {}
        for name in names if self._labelled else ():
            first = seen.setdefault(PurePosixPath(name).stem.casefold(), name)
            if first != name:
                kind = self._labelled[0]
                raise ConfigError(
                    f"{first} and {name} would share one {kind} label file; rename one, or leave {kind} out"
                )

    def are_there(self, result: PictureResult) -> bool:
        """Tell whether nothing is missing for this picture."""
        drawing = [self._drawing_path(result)] if self._is_drawn(result) else []
        return all(path.is_file() for path in [*drawing, *(self._labels(kind, result) for kind in self._labelled)])

    def write(self, result: PictureResult, rgb: Pixels) -> None:
        """Write the files of one picture, given upright: (H, W, 3) uint8 RGB. A frame is drawn in its video only."""
        if self._is_drawn(result):
            path = self._drawing_path(result)
            write_atomic(path, encode(self.drawing(result, rgb), path.suffix.lower()))
        for kind in self._labelled:
            _place_picture(self._output / kind / "images" / result.name, result, rgb)
            text = self._voc(result) if kind == VOC else _yolo(result)
            write_atomic(self._labels(kind, result), text)

    def drawing(self, result: PictureResult, rgb: Pixels) -> Image:
        """Draw what was found; a picture gets a legend below where names do not fit, a frame keeps its size."""
        shown = (rgb, result.boxes, result.labels, self._names, result.scores)
        if result.frame is None:
            return annotate_with_legend(*shown, self._colors)
        return annotate(*shown, colors=self._colors)

    def write_class_list(self) -> None:
        """Write what belongs to all pictures: data.yaml."""
        if YOLO in self._labelled:
            about = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(self._names))}
            text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
            write_atomic(self._output / YOLO / "data.yaml", text.encode())

    def _is_drawn(self, result: PictureResult) -> bool:
        return self._drawn and result.frame is None

    def _drawing_path(self, result: PictureResult) -> Path:
        known = PurePosixPath(result.name).suffix.lower() in IMAGE_SUFFIXES
        return self._output / PICTURES / (result.name if known else f"{result.name}.jpg")

    def _labels(self, kind: str, result: PictureResult) -> Path:
        folder, suffix = {VOC: ("annotations", ".xml"), YOLO: ("labels", ".txt")}[kind]
        return self._output / kind / folder / f"{PurePosixPath(result.name).stem}{suffix}"

    def _voc(self, result: PictureResult) -> bytes:
        width, height = result.stored_size()
        root = etree.Element("annotation")
        _add(root, "filename", result.name)
        size = etree.SubElement(root, "size")
        for tag, value in (("width", width), ("height", height), ("depth", 3)):
            _add(size, tag, str(value))
        for box, label in _labelled(result):
            one = etree.SubElement(root, "object")
            _add(one, "name", self._names[label])
            corners = etree.SubElement(one, "bndbox")
            for tag, corner in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                _add(corners, tag, format_number(corner))
        return etree.tostring(root, encoding="utf-8", pretty_print=True)


def _yolo(result: PictureResult) -> bytes:
    found = _labelled(result)
    boxes = torch.tensor([box for box, _ in found], dtype=torch.float64).reshape(-1, 4)
    relative = xyxy_px_to_cxcywh_norm(boxes, *result.stored_size()).tolist()
    rows = zip((label for _, label in found), relative, strict=True)
    return "".join(f"{label} {' '.join(f'{value:.6f}' for value in box)}\n" for label, box in rows).encode()


def _labelled(result: PictureResult) -> list[tuple[Box, int]]:
    """Return boxes and labels; a box that two phrases share has the better one's: to a trainer it is one object."""
    labels: dict[Box, int] = {}
    for box, label in zip(result.stored_boxes(), result.labels, strict=True):  # best first
        labels.setdefault(box, label)
    return list(labels.items())


def _add(parent: etree._Element, tag: str, text: str) -> None:
    etree.SubElement(parent, tag).text = text


def _place_picture(target: Path, result: PictureResult, rgb: Pixels) -> None:
    """Put the stored picture beside its labels: a hard link where the file system allows it; a frame is encoded."""
    if target.is_file():
        return
    if result.frame is not None:
        write_atomic(target, encode(rgb, ".jpg", FRAME_QUALITY))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    part.unlink(missing_ok=True)
    try:
        os.link(Path(result.path).resolve(), part)
    except OSError:  # another file system, or one without links
        shutil.copyfile(result.path, part)
    part.replace(target)
