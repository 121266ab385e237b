"""Writes Pascal VOC as its devkit has it: `JPEGImages/`, `Annotations/`, `ImageSets/Main/<split>.txt`."""

from collections.abc import Mapping
from itertools import chain
from xml.sax.saxutils import escape

from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.check import CheckedPicture
from gdino_lightning.data.fields import format_number
from gdino_lightning.data.writers.base import Writer, stems_apart

_FOLDER = "JPEGImages"


def _write(splits: Splits, classes: list[str]) -> Mapping[str, bytes]:
    del classes  # a VOC dataset has no list of them
    names = stems_apart(chain.from_iterable(splits.values()), ".xml")
    files: dict[str, bytes] = {}
    for split, pictures in splits.items():
        stems = [names[item.picture.name].removesuffix(".xml") for item in pictures]
        files[f"ImageSets/Main/{split}.txt"] = "".join(f"{stem}\n" for stem in stems).encode()
        for item in pictures:
            files[f"Annotations/{names[item.picture.name]}"] = _annotation(item)
    return files


def _annotation(item: CheckedPicture) -> bytes:
    width, height = item.size
    lines = [
        "<annotation>",
        f"  <folder>{_FOLDER}</folder>",
        f"  <filename>{escape(item.picture.name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    for row in item.rows:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), row.box_px, strict=True)
        box = "".join(f"<{tag}>{format_number(value)}</{tag}>" for tag, value in corners)
        lines.append(f"  <object><name>{escape(row.label_name)}</name><bndbox>{box}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""]).encode()


VOC = Writer(folder_of=lambda _: _FOLDER, write=_write)
