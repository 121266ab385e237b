"""Which class is taken for which: the confusion matrix of a detector, with background as one more class.

Letters: C classes, K detections and N true boxes of a picture.
"""

from collections.abc import Sequence

import numpy as np

from gdino_lightning.evaluation.records import NO_TRUTH, Ints, PictureRecord, match


def confusion_matrix(records: Sequence[PictureRecord], num_classes: int, iou: float = 0.5) -> Ints:
    """Count what true boxes were taken for, and what detections truly were.

    Detections are matched whatever their class: by score, each to the true box with the greatest overlap that is
    left. So an object is what the surest detection on it says, and a further one on the same object is found on
    background, as are detections on nothing.

    Args:
        records: Pictures at the working point: unlike in AP, every detection counts in full.
        num_classes: C.
        iou: Least overlap of a match.

    Returns:
        (C + 1, C + 1) counts by true (row) and detected class (column). Index C is background: its column holds what
        was missed, its row what was found where nothing is; [C, C] is 0.
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for record in records:
        matched = match(_of_one_class(record), iou)
        hits = matched != NO_TRUTH
        missed = np.delete(record.truth_labels, matched[hits])
        np.add.at(counts, (record.truth_labels[matched[hits]], record.labels[hits]), 1)
        np.add.at(counts[num_classes], record.labels[~hits], 1)
        np.add.at(counts[:, num_classes], missed, 1)
    return counts


def _of_one_class(record: PictureRecord) -> PictureRecord:
    return PictureRecord(
        record.image_id,
        record.truth_boxes,
        np.zeros_like(record.truth_labels),
        record.boxes,
        record.scores,
        np.zeros_like(record.labels),
    )
