"""The files that hold what was found in all pictures: COCO results and the project's CSV.

Boxes are in stored pixels, as everywhere in files of this project: where a picture is stored turned (EXIF orientation),
`images.json` says so.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gdino_lightning.data.fields import COLUMNS, format_number
from gdino_lightning.files import part_of
from gdino_lightning.inference.journal import PictureResult
from gdino_lightning.inference.pictures import UPRIGHT

COCO, CSV = "json", "csv"
RESULTS_NAME, IMAGES_NAME, TABLE_NAME = "detections.json", "images.json", "detections.csv"

Write = Callable[[int, PictureResult], None]


def write_coco(output: Path, results: Iterable[PictureResult], names: Sequence[str]) -> None:
    """Write detections.json (COCO results: xywh in px) and images.json (the images and categories that they refer to).

    Images are numbered from 1 in the order of the results, categories in the order of the labels.
    """
    with _atomic(output / RESULTS_NAME) as boxes, _atomic(output / IMAGES_NAME) as images:
        add_box, add_image = _items(boxes), _items(images)
        boxes.write("[")
        images.write('{"images": [')
        for number, result in enumerate(results, start=1):
            width, height = result.stored_size()
            about = {"id": number, "file_name": result.name, "width": width, "height": height}
            add_image(about if result.orientation == UPRIGHT else about | {"exif_orientation": result.orientation})
            for (x1, y1, x2, y2), score, label in zip(result.stored_boxes(), result.scores, result.labels, strict=True):
                corner_and_size = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
                add_box({"image_id": number, "category_id": label + 1, "bbox": corner_and_size, "score": score})
        categories = [{"id": label, "name": name} for label, name in enumerate(names, start=1)]
        images.write(f'\n], "categories": {json.dumps(categories)}, "annotations": []}}\n')
        boxes.write("\n]\n")


def write_csv(output: Path, results: Iterable[PictureResult], names: Sequence[str]) -> None:
    """Write detections.csv: the columns of the project's tables, xyxy in px, and the score; one row for each box."""
    with _atomic(output / TABLE_NAME) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "score"])
        for result in results:
            for box, score, label in zip(result.stored_boxes(), result.scores, result.labels, strict=True):
                corners = [format_number(corner) for corner in box]
                writer.writerow([names[label], *corners, result.name, *result.stored_size(), score])


@contextmanager
def _atomic(path: Path) -> Iterator[IO[str]]:
    """Open a file for text that takes its place when all is written; results of millions fit no memory."""
    part = part_of(path)
    try:
        with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _items(file: IO[str]) -> Callable[[object], None]:
    """Return what writes one item of a JSON list a line."""
    separators = iter(["\n"])

    def add(item: object) -> None:
        file.write(next(separators, ",\n") + json.dumps(item))

    return add
