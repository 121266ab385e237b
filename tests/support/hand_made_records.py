"""A picture's record written down by hand."""

from collections.abc import Sequence

import numpy as np

from gdino_lightning.evaluation.records import PictureRecord

Box = tuple[float, float, float, float]


def record(
    truth: Sequence[tuple[int, Box]], found: Sequence[tuple[float, int, Box]], image_id: int = 0
) -> PictureRecord:
    """A record from (label, box) and (score, label, box); detections are put in order of score."""
    found = sorted(found, key=lambda one: -one[0])
    return PictureRecord(
        image_id,
        np.array([box for _, box in truth], np.float32).reshape(-1, 4),
        np.array([label for label, _ in truth], np.int64),
        np.array([box for *_, box in found], np.float32).reshape(-1, 4),
        np.array([score for score, *_ in found], np.float32),
        np.array([label for _, label, _ in found], np.int64),
    )
