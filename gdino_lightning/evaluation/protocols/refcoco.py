"""Accuracy of referring expressions, as RefCOCO, RefCOCO+ and RefCOCOg are scored (Yu et al. 2016, section 4).

A phrase of a caption counts as found where its best box overlaps one of its true boxes by an IoU of at least .5. In
these sets each caption is one phrase with one box.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from gdino_lightning.boxes import pairwise_iou
from gdino_lightning.data.batch import Target
from gdino_lightning.inference.postprocess import Detections

BEST = (1, 5, 10)  # of how many boxes one has to be right
_IOU = 0.5
_COLUMNS = 2 + len(BEST)  # caption, phrase, and whether it was found


class PhraseAccuracy(Metric):
    """Share of the phrases whose best box is right, or one of the best 5 or 10.

    `compute` returns `acc@1`, `acc@5` and `acc@10`; -1 where no phrase has a box. Phrases without a box are left out. A
    caption that comes twice, as samplers do that pad the last round of several processes, counts once.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    phrases: list[Tensor]  # rows of _COLUMNS, flat

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float32)
        self.add_state("phrases", default=[], dist_reduce_fx="cat")

    def update(self, detections: Sequence[Detections], targets: Sequence[Target]) -> None:
        """Add some captions.

        Args:
            detections: One for each, highest score first; labels are the caption's phrases, boxes xyxy_px.
            targets: Of the same pictures, with `boxes_px`.

        Raises:
            ValueError: A target has no `boxes_px`: it was augmented.
        """
        for found, target in zip(detections, targets, strict=True):
            if target.boxes_px is None:
                raise ValueError(f"{target.image_path}: boxes_px is None: score unaugmented pictures")
            for phrase in sorted(set(target.labels.tolist())):
                truth = target.boxes_px[target.labels == phrase]
                best = found.boxes[found.labels == phrase][: max(BEST)]
                right = (pairwise_iou(best, truth.to(best)) >= _IOU).any(dim=1).tolist()
                row = [target.image_id, phrase, *(any(right[:number]) for number in BEST)]
                self.phrases.append(torch.tensor(row, dtype=torch.float32, device=self.device))

    def compute(self) -> dict[str, float]:
        """Return the shares over all phrases so far, of every process."""
        state = self.phrases
        rows = dim_zero_cat(state).reshape(-1, _COLUMNS).tolist() if len(state) else []
        once = {(row[0], row[1]): row[2:] for row in rows}
        names = [f"acc@{number}" for number in BEST]
        if not once:
            return dict.fromkeys(names, -1.0)
        return {name: sum(each[i] for each in once.values()) / len(once) for i, name in enumerate(names)}
