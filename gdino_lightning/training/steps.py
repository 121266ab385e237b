"""The part of the LightningModule that a batch meets: what is asked of it, losses, detections."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from gdino_lightning.data.batch import Batch
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.adapt import hold_frozen
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.prompt import Prompt, PromptBatch
from gdino_lightning.training.criterion import Losses, join_losses
from gdino_lightning.training.gradients import check_gradients, described
from gdino_lightning.training.objective import Objective
from gdino_lightning.training.questions import AskedBatch, Questioner
from gdino_lightning.training.scored import ScoredModule

logger = logging.getLogger(__name__)


class DetectionSteps(ScoredModule):
    """Runs detector and objective on batches.

    Attributes:
        detector: The network.
        questioner: Which words a batch is asked for.
        asker: From prompts to detections.
        objective: What a batch costs.
        skip_non_finite: Optimizer steps that may be skipped because their gradient is not finite.
        skipped: Those that were.
    """

    detector: GroundingDetector
    questioner: Questioner
    asker: Asker
    objective: Objective

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__(class_names)
        self.skip_non_finite = 0
        self.skipped = 0
        self._learned_from: list[str] = []  # batches whose gradients wait for a step

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
        self._learned_from.append(described(batch.targets))
        with self._placing_errors(self._step_name()):
            losses: Losses = self.objective(self.detector, batch)
        self.log_losses("train", losses, len(batch.targets), on_step=True)
        return losses.total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let no gradient that is not finite reach a weight.

        With float16 such gradients are part of the search for a scale, and its scaler skips their steps.

        Raises:
            FloatingPointError: There is one, and no more steps may be skipped; it names step, weights and pictures.
        """
        pictures, self._learned_from = self._learned_from, []
        if self.trainer.precision == "16-mixed":
            return
        try:
            with self._placing_errors(self._step_name()):
                check_gradients(self.named_parameters(), pictures)
        except FloatingPointError as error:
            self._skip(error)

    def on_train_epoch_end(self) -> None:
        """Log how many steps were skipped so far."""
        if self.skip_non_finite:
            self.log("train/skipped", float(self.skipped), sync_dist=True)  # equal on all ranks

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

    def _skip(self, error: FloatingPointError) -> None:
        """Leave an optimizer step out, on all ranks: without gradients it moves nothing."""
        if self.skipped >= self.skip_non_finite:
            raise error
        self.skipped += 1
        self.zero_grad(set_to_none=True)
        logger.warning("%s: skipped, %d of at most %d such steps", error, self.skipped, self.skip_non_finite)

    def _step_name(self) -> str:
        several = f" of rank {self.global_rank}" if self.trainer.world_size > 1 else ""
        return f"train step {self.global_step}{several}"

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
