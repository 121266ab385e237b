"""A predictor without a model: always the same three boxes, and a record of what it was asked."""

import torch

from gdino_lightning.inference.postprocess import Detections

NAMES = ("cat", "dog")
# label, score, box xyxy_px: two cats on almost one place, a dog elsewhere
FOUND = [(0, 0.9, (10, 10, 50, 50)), (0, 0.6, (11, 10, 50, 50)), (1, 0.4, (60, 20, 90, 80))]


class FakeAnswers:
    """Applies the box threshold alone."""

    def __init__(self):
        self.asked = []
        self.found = Detections(
            boxes=torch.tensor([each[2] for each in FOUND], dtype=torch.float32),
            scores=torch.tensor([each[1] for each in FOUND]),
            labels=torch.tensor([each[0] for each in FOUND]),
            names=NAMES,
        )

    def detections(self, *, box_threshold=None, text_threshold=None, nms_iou=None):
        self.asked.append((box_threshold, text_threshold, nms_iou))
        return self.found.select(self.found.scores >= (0.35 if box_threshold is None else box_threshold))


class FakePredictor:
    """Counts how often it looks."""

    def __init__(self, phrases=()):
        self.phrases = phrases
        self.looks = []

    def look(self, picture, phrases=None):
        self.looks.append((picture, phrases))
        return FakeAnswers()
