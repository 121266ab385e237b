"""What a model said about one picture, and what of it is worth showing.

Letters: K detections of one picture.
"""

from dataclasses import dataclass

from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.postprocess import Detections, nms
from gdino_lightning.inference.thresholds import LITERATURE_TEXT, Thresholds


def check_shares(**settings: float | None) -> None:
    """Refuse thresholds and overlaps that are not from 0 to 1.

    Raises:
        ConfigError: One is not.
    """
    for name, value in settings.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value:g}: it must be from 0 to 1")


@dataclass(frozen=True)
class Answers:
    """What a model said about one picture, before any threshold; other thresholds need no model.

    Attributes:
        found: The best pairs of query and phrase, with names, on the CPU.
        calibrated: The working point saved with the weights for these phrases; None where there is none.
    """

    found: Detections
    calibrated: Thresholds | None = None

    def detections(
        self,
        *,
        box_threshold: float | None = None,
        text_threshold: float | None = None,
        nms_iou: float | None = None,
        agnostic_nms: float | None = None,
    ) -> Detections:
        """Return what stays.

        Args:
            box_threshold: Least score of a phrase, the mean probability of its tokens. By default the calibrated
                threshold of each class, else 0.35.
            text_threshold: Least probability of every single token of the phrase. By default 0 with calibrated
                thresholds, else 0.25. (The official code cuts the phrase short instead, and names the rest.)
            nms_iou: A box that overlaps a better one of its phrase by more is dropped; by default the calibrated
                overlap of each class, else 0.5.
            agnostic_nms: The same over all phrases, afterwards; by default left out.

        Raises:
            ConfigError: One is not from 0 to 1.
        """
        check_shares(
            box_threshold=box_threshold, text_threshold=text_threshold, nms_iou=nms_iou, agnostic_nms=agnostic_nms
        )
        if text_threshold is None:
            text_threshold = 0.0 if self.calibrated else LITERATURE_TEXT
        found = self.found
        if found.weakest is not None:
            found = found.select(found.weakest >= text_threshold)
        kept = Thresholds.chosen(self.calibrated, len(found.names), box_threshold, nms_iou).apply(found)
        return kept if agnostic_nms is None else nms(kept, agnostic_nms, agnostic=True)
