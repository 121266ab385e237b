"""Records of an imagined detector, for measures that need many pictures and no model."""

import numpy as np

from gdino_lightning.evaluation.records import PictureRecord


def random_records(
    num_pictures: int, num_classes: int = 3, num_found: int = 30, skill: float = 0.7, seed: int = 0
) -> list[PictureRecord]:
    """Pictures with 0 to 6 true boxes; a detection is a true box moved a little with probability `skill`."""
    rng = np.random.default_rng(seed)
    return [_record(index, num_classes, num_found, skill, rng) for index in range(num_pictures)]


def _record(index: int, num_classes: int, num_found: int, skill: float, rng: np.random.Generator) -> PictureRecord:
    truth = _boxes(rng, int(rng.integers(0, 7)))
    truth_labels = rng.integers(0, num_classes, len(truth))
    boxes, labels = _boxes(rng, num_found), rng.integers(0, num_classes, num_found)
    near = rng.random(num_found) < skill if len(truth) else np.zeros(num_found, np.bool_)
    chosen = rng.integers(0, max(1, len(truth)), int(near.sum()))
    if len(chosen):
        boxes[near] = truth[chosen] + rng.normal(0, 2, (len(chosen), 4))
        labels[near] = truth_labels[chosen]
    scores = np.sort(rng.beta(1 + 3 * near, 4 - 2 * near))[::-1]
    return PictureRecord(
        index,
        truth.astype(np.float32),
        truth_labels.astype(np.int64),
        boxes.astype(np.float32),
        scores.astype(np.float32),
        labels.astype(np.int64),
    )


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, 200, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(8, 60, (count, 2))], axis=1)
