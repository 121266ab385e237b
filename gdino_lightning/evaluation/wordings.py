"""Which wording of a class finds it best: all of them asked about the same pictures, and how sure their order is.

Letters: C classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gdino_lightning.data.batch import Batch
from gdino_lightning.evaluation.bootstrap import (
    NO_BOX,
    Estimate,
    MapEstimate,
    bootstrap_difference,
    bootstrap_map,
)
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.inference.ask import Asker
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.prompt import Prompt


@dataclass(frozen=True)
class WordingScore:
    """How well one wording finds its class.

    Attributes:
        score: AP of the class, with standard errors; `NO_BOX` where the pictures have none of it.
        less: By how much the AP is below that of the chosen wording, on the same resamples (paired); None for the
            chosen one.
    """

    score: MapEstimate
    less: Estimate | None

    @property
    def verdict(self) -> str:
        """Whether the wording is chosen, and how sure it is that it is worse."""
        if self.score.map.value == NO_BOX:
            return "no box to score it by" + (": the first stays" if self.less is None else "")
        if self.less is None:
            return "chosen"
        interval = f"{self.less.value:.3f} less [{self.less.low:.3f}, {self.less.high:.3f}]"
        return f"{interval}: within noise" if self.less.low <= 0 else interval


@torch.no_grad()
def ask_pictures(
    detector: GroundingDetector,
    asker: Asker,
    batches: Iterable[Batch],
    questions: Sequence[Sequence[Prompt]],
    class_names: Sequence[str],
) -> list[list[PictureRecord]]:
    """Ask every picture several questions; it is encoded once, however many they are.

    Args:
        detector: In evaluation mode.
        asker: How answers are read.
        batches: Unaugmented pictures, on the device of the detector.
        questions: The prompts of each question, whose answers are joined; their `classes` index `class_names`.
        class_names: C names.

    Returns:
        For each question, what it found in all pictures.
    """
    answers = [CocoMeanAveragePrecision(class_names) for _ in questions]
    for batch in batches:
        image = detector.encode_image(batch.pixels, batch.pixel_mask)
        sizes = [(target.width, target.height) for target in batch.targets]
        for answer, prompts in zip(answers, questions, strict=True):
            found = [asker.find(detector, image, prompt, sizes) for prompt in prompts]
            answer.update(asker.join(found), batch.targets)
    return [answer.records() for answer in answers]


def compare_wordings(found: Sequence[Sequence[PictureRecord]], label: int) -> list[WordingScore]:
    """Compare the wordings of one class; the one with the highest AP is chosen, of equal ones the first.

    Args:
        found: For each wording, what was found in the same pictures when they were asked with it.
        label: Index of the class; all others are left out.
    """
    alone = [[_only(record, label) for record in records] for records in found]
    scores = [bootstrap_map(records, num_classes=1) for records in alone]
    best = max(range(len(scores)), key=lambda place: scores[place].map.value)  # the first of equal ones
    return [
        WordingScore(score, None if place == best else bootstrap_difference(records, alone[best], 1).map)
        for place, (score, records) in enumerate(zip(scores, alone, strict=True))
    ]


def _only(record: PictureRecord, label: int) -> PictureRecord:
    """Return the true boxes and detections of one class, as the class 0."""
    truth, found = record.truth_labels == label, record.select(record.labels == label)
    return PictureRecord(
        record.image_id,
        record.truth_boxes[truth],
        np.zeros(np.count_nonzero(truth), np.int64),
        found.boxes,
        found.scores,
        np.zeros_like(found.labels),
    )
