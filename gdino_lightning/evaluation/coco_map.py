"""COCO's mean average precision as a torchmetrics metric, computed by faster-coco-eval."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from gdino_lightning.data.batch import Target
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.inference.postprocess import Detections

_TRUTH_COLUMNS = 5  # label, x1, y1, x2, y2
_FOUND_COLUMNS = 6  # the same and the score
_KEYS = {
    "map": "AP_all",
    "map_50": "AP_50",
    "map_75": "AP_75",
    "map_small": "AP_small",
    "map_medium": "AP_medium",
    "map_large": "AP_large",
    "mar_1": "AR_all",
    "mar_10": "AR_second",
    "mar_100": "AR_third",
}
_ALL_AREAS, _MOST_DETECTIONS = 0, -1  # places in COCO's axes of area ranges and of maxDets


@dataclass(frozen=True)
class _Scene:
    """One picture as it is scored: its id, (N, 5) truth rows and (K, 6) found rows."""

    image_id: int
    truth: npt.NDArray[np.float64]
    found: npt.NDArray[np.float64]


class CocoMeanAveragePrecision(Metric):
    """COCO's box mAP and mAR over a whole split, equal to pycocotools.

    `compute` returns scalars `map` (IoU .50:.95), `map_50`, `map_75`, `map_small`, `map_medium`, `map_large`
    (native pixels: below 32², to 96², above), `mar_1`, `mar_10`, `mar_100` (by detections a picture and
    class; as in COCO at most the best 100 count) and `map/<class>`. As in pycocotools a value is 0 where
    there are boxes but no right prediction, and -1 where there is no box (of that class or size).

    A picture that comes twice, as samplers do that pad the last round of several processes, counts once.

    States are flat float32 lists: they gather over processes with uneven counts and where one has none (an
    absent list is gathered as one empty, flat float32 tensor). Ids and counts are exact up to 2^24.

    Args:
        class_names: the classes, in the order of the labels.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    scenes: list[Tensor]  # (image_id, boxes to find, boxes found) of each picture, flat
    truth: list[Tensor]  # rows of _TRUTH_COLUMNS, flat
    found: list[Tensor]  # rows of _FOUND_COLUMNS, flat

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.set_dtype(torch.float32)  # of the empty tensor that stands for an absent list
        self.class_names = list(class_names)
        for name in ("scenes", "truth", "found"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def metric_names(self) -> list[str]:
        """The keys that `compute` returns, known before anything is scored."""
        return [*_KEYS, *(f"map/{name}" for name in self.class_names)]

    def update(self, detections: Sequence[Detections], targets: Sequence[Target]) -> None:
        """Add the detections and the annotated boxes of some pictures.

        Args:
            detections: one for each picture, boxes in xyxy_px of the stored picture.
            targets: of the same pictures, with `boxes_px`.

        Raises:
            ValueError: a target has no `boxes_px` (it was augmented), a score or a box is not finite, a label
                is no class, or the two lists differ in length.
        """
        for found, target in zip(detections, targets, strict=True):
            if target.boxes_px is None:
                raise ValueError(f"{target.image_path}: boxes_px is None: score unaugmented pictures")
            self._check(target.image_path, target.labels, target.boxes_px)
            self._check(target.image_path, found.labels, found.boxes, found.scores)
            counts = [target.image_id, len(target.boxes_px), len(found)]
            self.scenes.append(torch.tensor(counts, dtype=torch.float32, device=self.device))
            self.truth.append(self._flat(target.labels[:, None], target.boxes_px))
            self.found.append(self._flat(found.labels[:, None], found.boxes, found.scores[:, None]))

    def compute(self) -> dict[str, Tensor]:
        """Return the scores of all pictures so far, of every process; float32 scalars, never NaN."""
        scenes = {scene.image_id: scene for scene in self._scenes()}
        names = self.metric_names()
        if not any(len(scene.truth) for scene in scenes.values()):
            values = [-1.0] * len(names)
        else:
            values = _evaluate([scenes[image_id] for image_id in sorted(scenes)], len(self.class_names))
        return {
            name: torch.tensor(value, dtype=torch.float32, device=self.device)
            for name, value in zip(names, values, strict=True)
        }

    def records(self) -> list[PictureRecord]:
        """Return all pictures so far, of every process, by image id: what further measures are computed from."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            scenes = {scene.image_id: scene for scene in self._scenes()}
        return [_record(scenes[image_id]) for image_id in sorted(scenes)]

    def _check(self, path: str, labels: Tensor, *numbers: Tensor) -> None:
        if not all(bool(torch.isfinite(values).all()) for values in numbers):
            raise ValueError(f"{path}: a box or a score is not finite")
        if bool(((labels < 0) | (labels >= len(self.class_names))).any()):
            raise ValueError(f"{path}: a label is outside 0..{len(self.class_names) - 1}")

    def _flat(self, *columns: Tensor) -> Tensor:
        return torch.cat([column.to(self.device, torch.float32) for column in columns], dim=1).flatten()

    def _scenes(self) -> Iterator[_Scene]:
        truth = _rows(self.truth, _TRUTH_COLUMNS)
        found = _rows(self.found, _FOUND_COLUMNS)
        for image_id, num_truth, num_found in _rows(self.scenes, 3).astype(int).tolist():
            yield _Scene(image_id, truth[:num_truth], found[:num_found])
            truth, found = truth[num_truth:], found[num_found:]


def _record(scene: _Scene) -> PictureRecord:
    found = scene.found[np.argsort(-scene.found[:, -1], kind="stable")].astype(np.float32)
    truth = scene.truth.astype(np.float32)
    return PictureRecord(
        image_id=scene.image_id,
        truth_boxes=truth[:, 1:],
        truth_labels=scene.truth[:, 0].astype(np.int64),
        boxes=found[:, 1:-1],
        scores=found[:, -1],
        labels=found[:, 0].astype(np.int64),
    )


def _rows(state: list[Tensor] | Tensor, columns: int) -> npt.NDArray[np.float64]:
    """Return a flat state as rows; a state is a tensor once it was gathered, and a list before."""
    if isinstance(state, list) and not state:
        return np.zeros((0, columns))
    return np.asarray(dim_zero_cat(state).cpu().double().reshape(-1, columns).numpy())


def _evaluate(scenes: Sequence[_Scene], num_classes: int) -> list[float]:
    """Run COCO's evaluation; return the values of `_KEYS`, then the AP of each class."""
    with _uncollected():
        evaluation = COCOeval_faster(
            _dataset(scenes, num_classes, [scene.truth for scene in scenes]),
            _dataset(scenes, num_classes, [scene.found for scene in scenes]),
            iouType="bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
    evaluation.summarize()
    summary = evaluation.stats_as_dict
    precision = evaluation.eval["precision"][:, :, :, _ALL_AREAS, _MOST_DETECTIONS]
    return [summary[key] for key in _KEYS.values()] + [_mean(precision[:, :, k]) for k in range(num_classes)]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python's collector rest: it would walk over a million dictionaries of numbers again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _mean(precision: npt.NDArray[np.float64]) -> float:
    """Average the precisions of a class over IoU thresholds and recalls; -1 where it has no box."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def _dataset(scenes: Sequence[_Scene], num_classes: int, rows: Sequence[npt.NDArray[np.float64]]) -> COCO:
    """Make a dataset of rows (label, x1, y1, x2, y2, score where there is one) of each scene.

    `COCO.loadRes` would write an outline of every box, too, which takes longer than to score them.
    """
    flat = ((scene.image_id, row) for scene, own in zip(scenes, rows, strict=True) for row in own.tolist())
    return COCO(
        {
            "images": [{"id": scene.image_id} for scene in scenes],
            "categories": [{"id": label, "name": str(label)} for label in range(num_classes)],
            "annotations": [
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score[0] if score else None,
                }
                for number, (image_id, (label, x1, y1, x2, y2, *score)) in enumerate(flat, start=1)
            ],
        }
    )
