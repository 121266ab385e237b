"""One way of scoring drawn detections, timed: `python -m benchmarks._scores SETTINGS`, a process for `map`."""

import contextlib
import io
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._process import peak_mb
from gdino_lightning.data.batch import Target
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.postprocess import Detections

SIDE = 640  # px of a picture
TRUTH = 7  # boxes of a picture, about as in COCO
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What is timed: `pycocotools` or `ours`, over `pictures` with `boxes` detections each, of `classes`."""

    way: str
    pictures: int
    boxes: int
    classes: int


@dataclass(frozen=True)
class Picture:
    """What is there and what was found; boxes xyxy_px."""

    truth: Floats
    truth_labels: Ints
    boxes: Floats
    labels: Ints
    scores: Floats


def draw(settings: Settings) -> list[Picture]:
    """Draw pictures: the first detections are near the truth, some of them with its label, the rest anywhere."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(settings.pictures):
        truth, labels = _boxes(rng, TRUTH), rng.integers(settings.classes, size=TRUTH)
        boxes, found = _boxes(rng, settings.boxes), rng.integers(settings.classes, size=settings.boxes)
        near = min(settings.boxes, 3 * TRUTH)
        copies = np.resize(np.arange(TRUTH), near)
        boxes[:near] = truth[copies] + rng.normal(0, 6, (near, 4))
        boxes[:near, 2:] = np.maximum(boxes[:near, 2:], boxes[:near, :2] + 1)
        found[:near] = np.where(rng.random(near) < 0.7, labels[copies], found[:near])
        scores = rng.random(settings.boxes, np.float32)
        drawn.append(Picture(truth, labels, boxes, found, scores))
    return drawn


def score_ours(pictures: list[Picture], num_classes: int) -> list[float]:
    """Score as validation does."""
    metric = CocoMeanAveragePrecision([str(label) for label in range(num_classes)])
    for number, each in enumerate(pictures):
        truth = torch.from_numpy(each.truth)
        target = Target(number, str(number), SIDE, SIDE, truth, torch.from_numpy(each.truth_labels), truth)
        boxes, scores, labels = (torch.from_numpy(values) for values in (each.boxes, each.scores, each.labels))
        metric.update([Detections(boxes, scores, labels)], [target])
    found = metric.compute()
    return [float(found[name]) for name in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")]


def score_pycocotools(pictures: list[Picture], num_classes: int) -> list[float]:
    """Score with COCO's own code, from its dictionaries to its summary."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(pictures))],
        "categories": [{"id": label, "name": str(label)} for label in range(num_classes)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for number, (image, label, box) in enumerate(
                (
                    (image, label, _xywh(box))
                    for image, each in enumerate(pictures)
                    for label, box in zip(each.truth_labels.tolist(), each.truth.tolist(), strict=True)
                ),
                start=1,
            )
        ],
        "info": {},
    }
    truth.createIndex()
    found = truth.loadRes(
        [
            {"image_id": image, "category_id": label, "bbox": _xywh(box), "score": score}
            for image, each in enumerate(pictures)
            for label, box, score in zip(each.labels.tolist(), each.boxes.tolist(), each.scores.tolist(), strict=True)
        ]
    )
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats[:6]]


def main() -> None:
    """Score what the first argument describes and print seconds, memory and scores."""
    settings = Settings(**json.loads(sys.argv[1]))
    pictures = draw(settings)
    score = score_ours if settings.way == "ours" else score_pycocotools
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # both print summaries
        scores = score(pictures, settings.classes)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak_mb(), "scores": scores}))


def _boxes(rng: np.random.Generator, count: int) -> Floats:
    corners = rng.uniform(0, 0.8 * SIDE, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(4, 0.4 * SIDE, (count, 2))], axis=1).astype(np.float32)


def _xywh(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


if __name__ == "__main__":
    main()
