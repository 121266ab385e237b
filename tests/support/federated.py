"""A set as LVIS has them, drawn: what was looked for where, boxes, and what a detector might say."""

from typing import Any

import numpy as np

from gdino_lightning.evaluation.records import PictureRecord, RecordSet

NUM_CLASSES, NUM_PICTURES = 9, 25


def record(number: int, truth: list[tuple[int, Any]], found: list[tuple[int, Any, float]]) -> PictureRecord:
    """A picture of (class, xyxy) to find and (class, xyxy, score) found."""
    ordered = sorted(found, key=lambda each: -each[2])
    return PictureRecord(
        number,
        np.array([box for _, box in truth], np.float32).reshape(-1, 4),
        np.array([label for label, _ in truth], np.int64),
        np.array([box for _, box, _ in ordered], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in ordered], np.float32),
        np.array([label for label, _, _ in ordered], np.int64),
    )


def draw(seed: int, clutter: int) -> tuple[dict[str, Any], RecordSet]:
    """LVIS' JSON and what was found, with up to `clutter` boxes a picture where nothing is."""
    rng = np.random.default_rng(seed)
    images, annotations, records = [], [], []
    for number in range(NUM_PICTURES):
        positive = rng.choice(NUM_CLASSES, rng.integers(0, 4), replace=False).tolist()
        others = [label for label in range(NUM_CLASSES) if label not in positive]
        negative = rng.choice(others, rng.integers(0, 4), replace=False).tolist()
        images.append(
            {
                "id": 100 + number,
                "width": 640,
                "height": 480,
                "coco_url": f"http://images.example/{number:04}.jpg",
                "neg_category_ids": [3 * label + 2 for label in negative],
                "not_exhaustive_category_ids": [3 * label + 2 for label in positive if rng.random() < 0.3],
            }
        )
        truth = [(label, _box(rng)) for label in positive for _ in range(rng.integers(1, 4))]
        for label, (x1, y1, x2, y2) in truth:
            sides = x2 - x1, y2 - y1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + number,
                    "category_id": 3 * label + 2,
                    "bbox": [x1, y1, *sides],
                    "area": float(sides[0] * sides[1] * rng.uniform(0.4, 1)),  # of a mask
                    "segmentation": [],
                }
            )
        found = [
            (label if rng.random() < 0.8 else int(rng.integers(NUM_CLASSES)), box + rng.normal(0, 6, 4), rng.random())
            for label, box in truth
            for _ in range(rng.integers(0, 3))
        ]
        found += [(int(rng.integers(NUM_CLASSES)), _box(rng), rng.random()) for _ in range(rng.integers(0, clutter))]
        records.append(record(number, truth, found))
    names = tuple(f"c{label}" for label in range(NUM_CLASSES))
    categories = [{"id": 3 * i + 2, "name": name, "frequency": "rcf"[i % 3]} for i, name in enumerate(names)]
    official = {"images": images, "categories": categories, "annotations": annotations}
    return official, RecordSet(names, tuple(f"{number:04}.jpg" for number in range(NUM_PICTURES)), tuple(records))


def _box(rng: np.random.Generator) -> Any:
    corner = rng.uniform(0, 400, 2)
    return np.array([*corner, *(corner + rng.uniform(5, 200, 2))])
