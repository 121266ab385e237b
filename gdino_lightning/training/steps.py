"""The part of the LightningModule that a batch meets: what is asked of it, losses, detections."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gdino_lightning.data.batch import Batch
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.adapt import hold_frozen
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.prompt import Prompt, PromptBatch
from gdino_lightning.training.criterion import Losses, join_losses
from gdino_lightning.training.objective import Objective
from gdino_lightning.training.questions import AskedBatch, Questioner
from gdino_lightning.training.scored import ScoredModule


class DetectionSteps(ScoredModule):
    """Runs detector and objective on batches.

    Attributes:
        detector: The network.
        questioner: Which words a batch is asked for.
        asker: From prompts to detections.
        objective: What a batch costs.
    """

    detector: GroundingDetector
    questioner: Questioner
    asker: Asker
    objective: Objective

    def forward(self, pixels: Tensor, pixel_mask: Tensor, prompts: Prompt | PromptBatch | None = None) -> StageOutputs:
        """Detect phrases: (B, 3, H, W) float32 and (B, H, W) bool in, all stages out.

        Args:
            pixels: Normalised pictures.
            pixel_mask: True on the pictures.
            prompts: One prompt for all pictures or one for each; by default this model's classes.

        Raises:
            ValueError: If no prompt is given and the classes need more than one.
        """
        if prompts is None and len(self.questioner.chunks) > 1:
            raise ValueError(f"the classes need {len(self.questioner.chunks)} prompts: use detect, which asks them all")
        prompts = self.questioner.chunks[0] if prompts is None else prompts
        outputs: StageOutputs = self.detector(pixels, pixel_mask, prompts)
        return outputs

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> AskedBatch:
        """Decide on the host, before the batch moves, which words its pictures are asked for."""
        if self.training:
            return self.questioner.for_training(batch, int(os.environ.get("PL_GLOBAL_SEED", 0)), self.current_epoch)
        return self.questioner.for_evaluation(batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw dropout and drop path by seed, epoch, step and rank, so that a resumed run draws as an unbroken one."""
        if seed := os.environ.get("PL_GLOBAL_SEED"):
            place = (self.current_epoch * 1_000_003 + batch_idx) * 1_009 + self.global_rank
            torch.manual_seed((int(seed) * 2_147_483_647 + place) % 2**63)

    def training_step(self, batch: AskedBatch, batch_idx: int) -> Tensor:
        """Return the weighted loss over all stages; raises FloatingPointError naming step and pictures."""
        with self._placing_errors(f"train step {self.global_step}"):
            losses: Losses = self.objective(self.detector, batch)
        self.log_losses("train", losses, len(batch.targets), on_step=True)
        return losses.total

    def validation_step(self, batch: AskedBatch, batch_idx: int) -> dict[str, list[Detections]]:
        """Score the batch and return its detections, for callbacks that draw."""
        return self._evaluate("val", self.val_map, batch)

    def test_step(self, batch: AskedBatch, batch_idx: int) -> dict[str, list[Detections]]:
        """As `validation_step`, for the test split."""
        return self._evaluate("test", self.test_map, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Return the detections of each picture."""
        return self.detect(batch)

    def detect(
        self, batch: Batch, prompts: Prompt | PromptBatch | Sequence[Prompt | PromptBatch] | None = None
    ) -> list[Detections]:
        """Detect phrases in evaluation mode; the pictures are encoded once, however many prompts ask about them.

        Args:
            batch: Pictures, on the device of the model.
            prompts: A prompt, or several that are asked one after the other, each shared by all pictures or one for
                each; by default this model's classes. Labels are the prompts' `classes`.

        Returns:
            The best detections of each picture over all prompts.
        """
        asked = self.questioner.chunks if prompts is None else prompts
        asked = [asked] if isinstance(asked, Prompt | PromptBatch) else asked
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                return self.asker.detect(self.detector, batch.pixels, batch.pixel_mask, asked, _sizes(batch))
        finally:
            for module, training in modes.items():
                module.training = training

    def train(self, mode: bool = True) -> "DetectionSteps":
        """Switch modes; what is frozen stays in evaluation mode, so its dropout is off."""
        super().train(mode)
        hold_frozen(self.detector.model)
        return self

    def _evaluate(self, stage: str, metric: CocoMeanAveragePrecision, batch: AskedBatch) -> dict[str, list[Detections]]:
        image = self.detector.encode_image(batch.pixels, batch.pixel_mask)
        losses, parts = [], []
        for question in batch.questions:
            outputs, found = self.asker.ask(self.detector, image, question.prompts, _sizes(batch))
            with self._placing_errors(stage):
                losses.append(self.objective.score(outputs, question, batch))
            parts.append(found)
        detections = self.asker.join(parts)
        metric.update(detections, batch.targets)
        self.log_losses(stage, join_losses(losses), len(batch.targets), on_step=False)
        return {"detections": detections}

    @staticmethod
    @contextmanager
    def _placing_errors(where: str) -> Iterator[None]:
        try:
            yield
        except FloatingPointError as error:
            raise FloatingPointError(f"{where}: {error}") from error


def _sizes(batch: Batch) -> list[tuple[int, int]]:
    """(width, height) px of the stored pictures."""
    return [(target.width, target.height) for target in batch.targets]
