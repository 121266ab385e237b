"""The working point of a model: which of its detections are worth showing.

Letters: C classes, K detections of one picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gdino_lightning.inference.postprocess import Detections, nms

# where nothing is calibrated: box and text threshold of the official demo, and the usual overlap
LITERATURE_SCORE, LITERATURE_TEXT, LITERATURE_NMS = 0.35, 0.25, 0.5


@dataclass(frozen=True)
class Thresholds:
    """Score thresholds and NMS overlaps by class, and the temperature that makes scores probabilities.

    Attributes:
        scores: C thresholds on raw scores, in the order of the classes; a detection below its own is dropped.
        nms_ious: C overlaps; a detection that overlaps a better one of its class by more than its own is dropped.
        temperature: The calibrated probability of a score is sigmoid(logit(score) / temperature).
    """

    scores: tuple[float, ...]
    nms_ious: tuple[float, ...]
    temperature: float = 1.0

    @classmethod
    def chosen(
        cls, calibrated: "Thresholds | None", num_classes: int, score: float | None, nms_iou: float | None
    ) -> "Thresholds":
        """Return what a user asks for; where that is None, the calibrated thresholds, else those of the literature."""
        base = calibrated or cls.fixed(num_classes)
        return cls(
            base.scores if score is None else (score,) * num_classes,
            base.nms_ious if nms_iou is None else (nms_iou,) * num_classes,
            base.temperature,
        )

    @classmethod
    def fixed(cls, num_classes: int, score: float = LITERATURE_SCORE, nms_iou: float = LITERATURE_NMS) -> "Thresholds":
        """Return the same thresholds for every class."""
        return cls((score,) * num_classes, (nms_iou,) * num_classes)

    def apply(self, detections: Detections) -> Detections:
        """Return the detections of one picture that stay; their scores stay raw."""
        labels = detections.labels
        least = torch.tensor(self.scores, dtype=detections.scores.dtype, device=labels.device)
        confident = detections.select(detections.scores >= least[labels])
        overlap = torch.tensor(self.nms_ious, dtype=confident.boxes.dtype, device=labels.device)
        return nms(confident, overlap[confident.labels][:, None])

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the calibrated probability of each raw score, same shape."""
        return (scores.logit(eps=torch.finfo(scores.dtype).eps) / self.temperature).sigmoid()

    def to_plain(self) -> dict[str, Any]:
        """Return plain types, as checkpoints and JSON files hold them."""
        return {"scores": list(self.scores), "nms_ious": list(self.nms_ious), "temperature": self.temperature}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Thresholds":
        """Undo `to_plain`; more may be stored beside it."""
        return cls(tuple(plain["scores"]), tuple(plain["nms_ious"]), plain["temperature"])
