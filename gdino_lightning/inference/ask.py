"""Asking about pictures: one or many prompts, the pictures encoded once.

Letters: B pictures, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gdino_lightning.inference.postprocess import Detections, ScoreOf, merge, postprocess
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.features import ImageFeatures, StageOutputs
from gdino_lightning.prompt import Prompt, PromptBatch

Size = tuple[int, int]  # width and height in px of a stored picture


@dataclass(frozen=True)
class Asker:
    """Reads answers in one way.

    Attributes:
        top_k: Detections kept per picture, over all queries, phrases and prompts.
        token_score: How the tokens of a phrase make its score.
    """

    top_k: int = 300
    token_score: ScoreOf = "mean"

    def detect(
        self,
        detector: GroundingDetector,
        pixels: Tensor,
        pixel_mask: Tensor,
        prompts: Sequence[Prompt | PromptBatch],
        sizes: Sequence[Size],
    ) -> list[Detections]:
        """Detect the phrases of all prompts.

        Args:
            detector: The detector.
            pixels: (B, 3, H, W) normalised pictures, 0 where padded.
            pixel_mask: (B, H, W) bool, True on the picture.
            prompts: Asked one after the other, each shared by all pictures or one for each. Labels are their `classes`.
            sizes: (width, height) px of the B stored pictures.

        Returns:
            The best detections of each picture over all prompts.

        Raises:
            ValueError: If there is no prompt.
        """
        if not prompts:
            raise ValueError("there is no prompt to ask")
        image = detector.encode_image(pixels, pixel_mask)
        return self.join([self.find(detector, image, each, sizes) for each in prompts])

    def find(
        self, detector: GroundingDetector, image: ImageFeatures, prompts: Prompt | PromptBatch, sizes: Sequence[Size]
    ) -> list[Detections]:
        """Ask about pictures that are encoded already; return each picture's detections."""
        batch = _for_each(prompts, image)
        return self._read(*detector.answer(image, batch), batch, sizes)

    def ask(
        self, detector: GroundingDetector, image: ImageFeatures, prompts: Prompt | PromptBatch, sizes: Sequence[Size]
    ) -> tuple[StageOutputs, list[Detections]]:
        """Ask as `find` does; return all stages, too."""
        batch = _for_each(prompts, image)
        outputs = detector.ground(image, batch)
        return outputs, self._read(outputs.final_logits, outputs.final_boxes, batch, sizes)

    def join(self, answers: Sequence[list[Detections]]) -> list[Detections]:
        """Merge what several prompts found in the same pictures."""
        return [merge(found, self.top_k) for found in zip(*answers, strict=True)]

    def _read(self, logits: Tensor, boxes: Tensor, prompts: PromptBatch, sizes: Sequence[Size]) -> list[Detections]:
        return postprocess(
            logits,
            boxes,
            prompts.phrase_map,
            sizes,
            classes=prompts.classes,
            top_k=self.top_k,
            score=self.token_score,
        )


def _for_each(prompts: Prompt | PromptBatch, image: ImageFeatures) -> PromptBatch:
    """One prompt for each picture, on the pictures' device."""
    batch = PromptBatch.of([prompts]) if isinstance(prompts, Prompt) else prompts
    return batch.expand(len(image.features)).to(image.features.device)
