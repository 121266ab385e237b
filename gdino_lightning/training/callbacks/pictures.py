"""Ground truth beside predictions: to TensorBoard while training, to files on test."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.data.images import read_rgb
from gdino_lightning.inference.draw import Image, annotate, contact_sheet, save_jpeg, side_by_side
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds


@dataclass(frozen=True)
class _Seen:
    """One picture of the split: its target and its detections."""

    target: Target
    found: Detections


class DetectionPictures(Callback):
    """Draws pictures spread evenly over the split, the same ones each time.

    On validation (with TensorBoard attached; also on a whole sanity check, which is the model before any
    training) they go to the images tab under `val/pictures`; on test to `report/test/<image>.jpg` in the
    trainer's `default_root_dir`, with the contact sheet `report/test.jpg`. Only the first process draws, from
    its share.

    Steps must return {"detections": one `Detections` for each picture}, batches must be `Batch`, and the
    module must have `class_names`.

    Args:
        num_pictures: pictures of a validation; 0 for none.
        num_test_pictures: pictures of a test; 0 for none.
        score_threshold: detections with at least this score are drawn; null: the calibrated threshold of each class,
            else 0.35.
        nms_iou: overlap above which the lower score of one class is not drawn; null: the calibrated ones, else 0.5.
    """

    def __init__(
        self,
        num_pictures: int = 4,
        num_test_pictures: int = 24,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
    ) -> None:
        super().__init__()
        self.num_pictures = num_pictures
        self.num_test_pictures = num_test_pictures
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self._wanted = 0  # pictures to draw of the running split
        self._seen: dict[int, _Seen] = {}  # by image id: a padded sampler repeats some

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the pictures of the last validation."""
        self._begin(trainer, self.num_pictures)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, object] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remember what was found."""
        if self._wanted:
            self._remember(outputs, batch)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the pictures to TensorBoard."""
        if trainer.sanity_checking and not math.isinf(trainer.num_sanity_val_steps):
            return
        boards = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
        if not boards:
            return
        for number, (_, image) in enumerate(self._drawn(pl_module)):
            for board in boards:
                name = f"val/pictures/{number}"
                board.experiment.add_image(name, image, trainer.global_step, dataformats="HWC")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the pictures of other splits."""
        self._begin(trainer, self.num_test_pictures)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the pictures and their contact sheet."""
        report = Path(trainer.default_root_dir) / "report"
        images = []
        for target, image in self._drawn(pl_module):
            images.append(image)
            save_jpeg(image, report / "test" / f"{Path(target.image_path).stem}.jpg")
        if images:
            save_jpeg(contact_sheet(images, columns=3, cell=640), report / "test.jpg")

    def _begin(self, trainer: Trainer, wanted: int) -> None:
        self._wanted = wanted if trainer.is_global_zero else 0
        self._seen.clear()

    def _remember(self, outputs: Tensor | Mapping[str, object] | None, batch: Batch) -> None:
        detections = cast(Mapping[str, list[Detections]], outputs)["detections"]
        for found, target in zip(detections, batch.targets, strict=True):
            self._seen[target.image_id] = _Seen(target, found.cpu())

    def _drawn(self, pl_module: LightningModule) -> Iterator[tuple[Target, Image]]:
        """Draw at the end, when a validation has calibrated its thresholds."""
        names = cast(list[str], pl_module.class_names)
        calibrated = getattr(pl_module, "thresholds", None)
        thresholds = Thresholds.chosen(calibrated, len(names), self.score_threshold, self.nms_iou)
        for seen in self._spread():
            yield seen.target, _draw(_Seen(seen.target, thresholds.apply(seen.found)), names)

    def _spread(self) -> list[_Seen]:
        """Return the pictures to draw, evenly spaced in the order of the split."""
        seen = [self._seen[image_id] for image_id in sorted(self._seen)]
        places = np.linspace(0, len(seen) - 1, min(self._wanted, len(seen))).round().astype(int)
        return [seen[place] for place in places.tolist()]


def _draw(seen: _Seen, class_names: Sequence[str]) -> Image:
    target, found = seen.target, seen.found
    if target.boxes_px is None:
        raise ValueError(f"{target.image_path}: boxes_px is None: draw unaugmented pictures")
    path = Path(target.image_path)
    image = read_rgb(path)
    truth = annotate(image, target.boxes_px.cpu().numpy(), target.labels.tolist(), class_names)
    prediction = annotate(image, found.boxes.numpy(), found.labels.tolist(), class_names, found.scores.tolist())
    return side_by_side(truth, prediction, class_names, path.name)
