"""What pictures hold and what was found in them, as plain arrays: measured, compared and stored away from the model.

Letters: N true boxes and K detections of a picture.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gdino_lightning.boxes import pairwise_iou
from gdino_lightning.errors import CheckpointError, reason_of
from gdino_lightning.files import write_atomic

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

VAL_RECORDS = Path("report") / "records-val.npz"  # in a run folder
TEST_RECORDS = Path("report") / "records-test.npz"
NO_TRUTH = -1  # of a detection that matches no true box


@dataclass(frozen=True)
class PictureRecord:
    """Truth and detections of one picture.

    Attributes:
        image_id: Index of the picture in its split.
        truth_boxes: (N, 4) xyxy_px of the stored picture.
        truth_labels: (N,) class indices.
        boxes: (K, 4) xyxy_px, highest score first.
        scores: (K,) in 0..1.
        labels: (K,) class indices.
    """

    image_id: int
    truth_boxes: Floats
    truth_labels: Ints
    boxes: Floats
    scores: Floats
    labels: Ints

    def select(self, keep: Flags | Ints) -> "PictureRecord":
        """Return the record with some of its detections, given as a mask or as indices in order of score."""
        return PictureRecord(
            self.image_id, self.truth_boxes, self.truth_labels, self.boxes[keep], self.scores[keep], self.labels[keep]
        )


def empty_record(image_id: int) -> PictureRecord:
    """A picture with nothing on it in which nothing was found."""
    boxes, numbers = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return PictureRecord(image_id, boxes, numbers, boxes, np.zeros(0, np.float32), numbers)


@dataclass(frozen=True)
class RecordSet:
    """The pictures of a split as a run saw them, and the names that tell whether two runs saw the same.

    Attributes:
        class_names: C names, in the order of the labels.
        picture_names: File name of each picture.
        records: The pictures, at least one.
    """

    class_names: tuple[str, ...]
    picture_names: tuple[str, ...]
    records: tuple[PictureRecord, ...]


def match(record: PictureRecord, iou: float = 0.5) -> Ints:
    """Match detections to true boxes of their class as COCO does: by score, each to the best box that is left.

    Args:
        record: One picture.
        iou: Least overlap of a match.

    Returns:
        (K,) index of each detection's true box, or `NO_TRUTH`.
    """
    matched: Ints = match_at(record, (iou,))[0]
    return matched


def match_at(record: PictureRecord, least: Sequence[float]) -> Ints:
    """As `match`, for several least overlaps at once.

    Args:
        record: One picture.
        least: T least overlaps.

    Returns:
        (T, K) index of each detection's true box, or `NO_TRUTH`.
    """
    overlaps = ious(record.boxes, record.truth_boxes)
    overlaps[record.labels[:, None] != record.truth_labels[None]] = 0
    needed = np.asarray(least)[:, None]  # (T, 1)
    every = np.arange(len(needed))
    matched = np.full((len(needed), len(record.scores)), NO_TRUTH, np.int64)
    taken = np.zeros((len(needed), len(record.truth_labels)), np.bool_)
    could = overlaps.max(axis=1, initial=0) >= needed.min()  # most detections could match nothing
    for index in np.argsort(-record.scores, kind="stable"):
        if could[index]:
            left = np.where(taken, -1, overlaps[index])  # (T, N)
            best = left.shape[1] - 1 - left[:, ::-1].argmax(axis=1)  # of equal ones the last, as in COCO
            hit = left[every, best] >= needed[:, 0]
            matched[hit, index] = best[hit]
            taken[every[hit], best[hit]] = True
    return matched


def ious(boxes: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """IoU of each box (K, 4) with each other one (N, 4), both xyxy_px: (K, N).

    In double precision, as pycocotools has it: in single precision 13/20 is below .65.
    """
    both = (torch.from_numpy(each).double() for each in (boxes, others))
    overlaps: npt.NDArray[np.float64] = pairwise_iou(*both).numpy()
    return overlaps


def num_truths(records: Sequence[PictureRecord], num_classes: int) -> Ints:
    """Count the true boxes of each class, (C,)."""
    labels = np.concatenate([np.zeros(0, np.int64), *(record.truth_labels for record in records)])
    return np.bincount(labels, minlength=num_classes)


def save_records(path: Path, records: RecordSet) -> None:
    """Write records as a compressed npz of plain arrays; the file is whole or absent at every moment."""
    pictures = records.records
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        class_names=np.array(records.class_names, np.str_),
        picture_names=np.array(records.picture_names, np.str_),
        image_ids=np.array([each.image_id for each in pictures], np.int64),
        num_truths=np.array([len(each.truth_labels) for each in pictures], np.int64),
        num_found=np.array([len(each.labels) for each in pictures], np.int64),
        truth_boxes=np.concatenate([each.truth_boxes for each in pictures]),
        truth_labels=np.concatenate([each.truth_labels for each in pictures]),
        boxes=np.concatenate([each.boxes for each in pictures]),
        scores=np.concatenate([each.scores for each in pictures]),
        labels=np.concatenate([each.labels for each in pictures]),
    )
    write_atomic(path, buffer.getvalue())


def load_records(path: Path) -> RecordSet:
    """Read what `save_records` wrote.

    Raises:
        CheckpointError: The file is missing, damaged or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; `gdino test --ckpt_path {path.parent.parent}` writes it")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        _check_arrays(arrays)
        truth_ends, found_ends = np.cumsum(arrays["num_truths"])[:-1], np.cumsum(arrays["num_found"])[:-1]
        columns = zip(
            arrays["image_ids"].tolist(),
            np.split(arrays["truth_boxes"], truth_ends),
            np.split(arrays["truth_labels"], truth_ends),
            np.split(arrays["boxes"], found_ends),
            np.split(arrays["scores"], found_ends),
            np.split(arrays["labels"], found_ends),
            strict=True,
        )
        return RecordSet(
            tuple(arrays["class_names"].tolist()),
            tuple(arrays["picture_names"].tolist()),
            tuple(PictureRecord(*each) for each in columns),
        )
    except Exception as error:  # whatever zip and npy trip over in damaged bytes
        raise CheckpointError(
            f"{path}: damaged or not records of a run ({reason_of(error)}); run `gdino test` again"
        ) from None


def _check_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse arrays that do not fit together, with a `ValueError`."""
    classes = len(arrays["class_names"])
    for count, boxes, labels in (("num_truths", "truth_boxes", "truth_labels"), ("num_found", "boxes", "labels")):
        total = int(arrays[count].sum())
        if arrays[boxes].shape != (total, 4) or arrays[labels].shape != (total,) or (arrays[count] < 0).any():
            raise ValueError(f"{count} says {total}, {boxes} is {arrays[boxes].shape}")
        if not ((arrays[labels] >= 0) & (arrays[labels] < classes)).all():
            raise ValueError(f"{labels} has others than those of {classes} classes")
        if not np.isfinite(arrays[boxes]).all():
            raise ValueError(f"{boxes} has numbers that are not finite")
    if arrays["scores"].shape != arrays["labels"].shape or not np.isfinite(arrays["scores"]).all():
        raise ValueError("scores are not a finite number for each box")
    pictures = {len(arrays[name]) for name in ("picture_names", "image_ids", "num_truths", "num_found")}
    if len(pictures) != 1 or 0 in pictures:
        raise ValueError("there is not one name and one count for each of its pictures")
