"""Prepared splits written by hand, right or wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from voc_factory import png

from gdino_lightning.data.table import Row, write_table

Boxes = Mapping[str, Sequence[tuple[str, tuple[float, float, float, float]]]]  # picture -> label, xyxy_px


def write_split(folder: Path, boxes: Boxes, pictures: Mapping[str, bytes] | None = None) -> None:
    """Write a split of 40x30 px pictures of noise, or of the bytes given, with these boxes."""
    (folder / "images").mkdir(parents=True)
    for name in boxes:
        noise = png(seed=int.from_bytes(f"{folder.name}{name}".encode()))
        (folder / "images" / name).write_bytes((pictures or {}).get(name, noise))
    rows = [Row(label, tuple(map(float, box)), name, 40, 30) for name, found in boxes.items() for label, box in found]
    (folder / "annotations.csv").write_bytes(write_table(rows))
