"""predictions.csv: what `predict` found, in the columns of the project's tables and the score."""

import csv
import io
import logging
from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds

logger = logging.getLogger(__name__)


class PredictionsCSV(Callback):
    """Writes <default_root_dir>/predictions.csv when a prediction ends; the first process, for all of them.

    Boxes are xyxy_px of the stored picture. The file takes its place in one move.

    Args:
        score_threshold: detections with at least this score are written; null: the calibrated threshold of each class,
            else 0.35.
        nms_iou: overlap above which the lower score of one class is left out; null: the calibrated ones, else 0.5.
    """

    def __init__(self, score_threshold: float | None = None, nms_iou: float | None = None) -> None:
        super().__init__()
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self._rows: dict[int, list[list[object]]] = {}  # by image id: a padded sampler repeats some

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier predictions."""
        self._rows.clear()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows of these pictures."""
        names = cast(list[str], pl_module.class_names)
        calibrated = getattr(pl_module, "thresholds", None)
        thresholds = Thresholds.chosen(calibrated, len(names), self.score_threshold, self.nms_iou)
        for found, target in zip(cast(list[Detections], outputs), batch.targets, strict=True):
            self._rows[target.image_id] = _rows(thresholds.apply(found), target, names)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the rows of all processes and write the file."""
        if trainer.world_size > 1:
            shares = [self._rows] * trainer.world_size if trainer.global_rank == 0 else None
            distributed.gather_object(self._rows, shares)
            self._rows = {image_id: rows for share in shares or () for image_id, rows in share.items()}
        if trainer.global_rank > 0:
            return
        path = Path(trainer.default_root_dir) / "predictions.csv"
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, "score"])
        for image_id in sorted(self._rows):
            writer.writerows(self._rows[image_id])
        write_atomic(path, text.getvalue().encode())
        logger.info("%s: %d boxes in %d pictures", path, sum(map(len, self._rows.values())), len(self._rows))


def _rows(found: Detections, target: Target, names: list[str]) -> list[list[object]]:
    place = [Path(target.image_path).name, target.width, target.height]
    found = found.cpu()
    return [
        [names[label], *(round(value, 2) for value in box), *place, round(score, 4)]
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ]
