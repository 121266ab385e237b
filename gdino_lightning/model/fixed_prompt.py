"""A detector whose words are constants, for graphs that know no tokenizer.

Letters: B pictures, Q queries, P phrases, T text tokens, H, W pixels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.features import ImageFeatures, TextFeatures
from gdino_lightning.prompt import Prompt, PromptBatch


class FixedPrompt(nn.Module):
    """A detector whose words are constants: `pixels` (B, 3, H, W), `pixel_mask` (B, H, W) -> scores, boxes.

    Args:
        detector: Used, not copied.
        prompt: The words.
        token_score: How the probabilities of a phrase's tokens make its score.
    """

    features: Tensor
    token_mask: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor
    shares: Tensor

    def __init__(
        self, detector: GroundingDetector, prompt: Prompt, token_score: Literal["mean", "max"] = "mean"
    ) -> None:
        super().__init__()
        with torch.no_grad():
            text = detector.encode_text(PromptBatch.of([prompt]))
        for name in ("features", "token_mask", "self_attention_mask", "position_ids"):
            self.register_buffer(name, getattr(text, name).clone())
        members = prompt.phrase_map.float()
        self.register_buffer("shares", (members / members.sum(1, keepdim=True)).T.contiguous())  # (T, P)
        self._tokens = [row.nonzero().flatten().tolist() for row in prompt.phrase_map]
        self._token_score = token_score
        self.detector = detector

    def forward(self, pixels: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (B, Q, P) in 0..1 and boxes (B, Q, 4) cxcywh_norm of the picture without its padding."""
        return self._answer(*self._fuse(pixels, pixel_mask))

    def follow(self, pixels: Tensor, pixel_mask: Tensor, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer as `forward`, but from the image tokens that a graph picked.

        Proposals that match alike to the last digits of float32 come in either order, and what a query starts from
        follows from its place. Starting from the same ones leaves nothing else that may rightly differ.

        Returns:
            Scores, boxes, and (B, Q) by how much each picked token matches better or worse than the one due there.
        """
        image, text = self._fuse(pixels, pixel_mask)
        due, taken = (self.detector.select_queries(image, text, each)[0].amax(-1) for each in (None, picked))
        return *self._answer(image, text, picked), taken - due

    def _fuse(self, pixels: Tensor, pixel_mask: Tensor) -> tuple[ImageFeatures, TextFeatures]:
        image = self.detector.encode_image(pixels, pixel_mask)
        count = pixels.shape[0]
        text = TextFeatures(
            features=self.features.expand(count, -1, -1),
            token_mask=self.token_mask.expand(count, -1),
            self_attention_mask=self.self_attention_mask.expand(count, -1, -1),
            position_ids=self.position_ids.expand(count, -1),
            is_padded=False,
        )
        return self.detector.fuse(image, text)

    def _answer(self, image: ImageFeatures, text: TextFeatures, picked: Tensor | None = None) -> tuple[Tensor, Tensor]:
        _, _, content, references = self.detector.select_queries(image, text, picked)
        (logits,), (boxes,) = self.detector.decode(image, text, content, references, final_only=True)
        probabilities = logits.sigmoid()
        if self._token_score == "mean":
            return probabilities @ self.shares, boxes
        return torch.stack([probabilities[..., tokens].amax(-1) for tokens in self._tokens], dim=-1), boxes
