"""From outputs and questions to the loss: truths, denoising queries and the criterion, in training and evaluation."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from gdino_lightning.data.batch import Batch
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.training.criterion import Losses, SetCriterion, no_losses
from gdino_lightning.training.denoising import DenoisedOutputs, Denoising, draw_denoising
from gdino_lightning.training.gradients import described
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.questions import AskedBatch, Question


class Objective(nn.Module):
    """What a batch costs.

    Args:
        criterion: Matching and set losses.
        special_tokens_negative: [CLS], [SEP] and delimiters count as words that no box answers to.
        denoising_queries: About how many denoising queries to add in training; 0 for none.
        refuses_non_finite: Training outputs that are not finite are an error; else their losses and gradients are NaN.
    """

    def __init__(
        self,
        criterion: SetCriterion,
        *,
        special_tokens_negative: bool,
        denoising_queries: int,
        refuses_non_finite: bool = True,
    ) -> None:
        super().__init__()
        self.criterion = criterion
        self._special_tokens_negative = special_tokens_negative
        self._denoising_queries = denoising_queries
        self._refuses_non_finite = refuses_non_finite

    def forward(self, detector: GroundingDetector, batch: AskedBatch) -> Losses:
        """Run the detector on a training batch and score it.

        Raises:
            FloatingPointError: If the outputs are not finite and are refused; it names the pictures.
        """
        (question,) = batch.questions
        truths = self._truths(question, batch)
        denoising = None
        if self._denoising_queries:
            maps = question.prompts.expand(len(truths)).phrase_map
            denoising = draw_denoising(truths, list(maps), self._denoising_queries)
        extra = denoising.queries if denoising else None
        outputs = detector(batch.pixels, batch.pixel_mask, question.prompts, extra)
        try:
            losses = self._score(outputs, truths, denoising, batch)
        except FloatingPointError:
            if self._refuses_non_finite:
                raise
            losses = no_losses(outputs)
        if self._denoising_queries:  # a batch without boxes has this part, too: ranks log the same
            losses = replace(losses, parts={**losses.parts, "dn": losses.parts.get("dn", losses.total.new_zeros(()))})
        return losses

    def score(self, outputs: StageOutputs, question: Question, batch: Batch) -> Losses:
        """Score the answers to one of a batch's questions, normalised by all boxes of the batch.

        Raises:
            FloatingPointError: If the outputs are not finite; it names the pictures.
        """
        # boxes whose phrase is in another chunk count, too: so the losses of all chunks can be added
        num_boxes = sum(len(target.boxes) for target in batch.targets)
        return self._score(outputs, self._truths(question, batch), None, batch, num_boxes)

    def _truths(self, question: Question, batch: Batch) -> list[Truth]:
        return question.truths(batch.targets, special_tokens_negative=self._special_tokens_negative)

    def _score(
        self,
        outputs: StageOutputs,
        truths: Sequence[Truth],
        denoising: Denoising | None,
        batch: Batch,
        num_boxes: int | None = None,
    ) -> Losses:
        denoised = None
        if denoising and outputs.extra_logits is not None and outputs.extra_boxes is not None:
            denoised = DenoisedOutputs(denoising, outputs.extra_logits, outputs.extra_boxes)
        try:
            losses: Losses = self.criterion(outputs.logits, outputs.boxes, truths, denoised, num_boxes)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; pictures: {described(batch.targets)}") from error
        return losses
