"""Small datasets written by the tests of preparation."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

Item = tuple[str, tuple[object, object, object, object]]  # label, xyxy_px


def object_xml(label: str, box: Sequence[object]) -> str:
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{label}</name>\n<bndbox>{corners}</bndbox></object>\n"


def voc_xml(filename: str, items: Sequence[Item] = (), size: tuple[object, object] = (40, 30)) -> bytes:
    head = f"<annotation>\n<filename>{filename}</filename>\n"
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>\n"
    return (head + sides + "".join(object_xml(*item) for item in items) + "</annotation>\n").encode()


def png(width: int = 40, height: int = 30, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def dataset_files(count: int = 6) -> dict[str, bytes]:
    """Files of `count` pictures of 40x30 px with one box each; the last one is a negative."""
    files: dict[str, bytes] = {}
    for index in range(count):
        items: list[Item] = [] if index == count - 1 else [("cat", (1 + index, 2, 20, 25))]
        files[f"images/p{index}.png"] = png(seed=index)
        files[f"annotations/p{index}.xml"] = voc_xml(f"p{index}.png", items)
    return files


def tree_digest(root: Path) -> dict[str, str]:
    """Path below `root` -> digest of the file, dot files included."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def tree_times(root: Path) -> dict[str, int]:
    """Path below `root` -> time of its last change, folders included."""
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}
