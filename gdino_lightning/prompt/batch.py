"""The prompts of a batch, padded to the longest.

Letters: B pictures, T text tokens, P phrases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gdino_lightning.prompt.blocks import Prompt


@dataclass(frozen=True)
class PromptBatch:
    """B prompts as tensors; where all pictures have the same one they share its memory.

    Attributes:
        prompts: B prompts.
        token_mask: (B, T) bool, True on tokens, False on padding.
        word_mask: (B, T) bool, True on words: neither padding nor [CLS], [SEP] or a delimiter.
        phrase_map: (B, P, T) bool, True where a token belongs to the phrase; rows of padding phrases are False.
        classes: (B, P) int64 class index of each phrase, -1 where padded.
        self_attention_mask: (B, T, T) bool, True where a token may look at another one; padding looks at itself.
        position_ids: (B, T) int64, from 0 in each block; 0 on padding.
    """

    prompts: tuple[Prompt, ...]
    token_mask: Tensor
    word_mask: Tensor
    phrase_map: Tensor
    classes: Tensor
    self_attention_mask: Tensor
    position_ids: Tensor

    @property
    def is_padded(self) -> bool:
        """True where a prompt is shorter than another one."""
        return len({len(prompt.word_mask) for prompt in self.prompts}) > 1

    @staticmethod
    def of(prompts: Sequence[Prompt]) -> "PromptBatch":
        """Pad prompts to one length.

        Raises:
            ValueError: If there is no prompt.
        """
        if not prompts:
            raise ValueError("a batch needs at least one prompt")
        rows = prompts[:1] if all(prompt is prompts[0] for prompt in prompts) else prompts
        tokens = max(len(prompt.word_mask) for prompt in rows)
        phrases = max(len(prompt.phrases) for prompt in rows)
        size = len(rows)
        word_mask = torch.zeros(size, tokens, dtype=torch.bool)
        token_mask = torch.zeros(size, tokens, dtype=torch.bool)
        phrase_map = torch.zeros(size, phrases, tokens, dtype=torch.bool)
        classes = torch.full((size, phrases), -1)
        attention = torch.eye(tokens, dtype=torch.bool).repeat(size, 1, 1)
        positions = torch.zeros(size, tokens, dtype=torch.int64)
        for b, prompt in enumerate(rows):
            p, t = prompt.phrase_map.shape
            token_mask[b, :t] = True
            word_mask[b, :t] = prompt.word_mask
            phrase_map[b, :p, :t] = prompt.phrase_map
            classes[b, :p] = torch.tensor(prompt.classes)
            attention[b, :t, :t] = prompt.self_attention_mask
            positions[b, :t] = prompt.position_ids
        batch = PromptBatch(tuple(rows), token_mask, word_mask, phrase_map, classes, attention, positions)
        return batch.expand(len(prompts))

    def expand(self, size: int) -> "PromptBatch":
        """Share one prompt among `size` pictures; a batch of `size` prompts stays as it is.

        Raises:
            ValueError: If there is more than one prompt and not `size`.
        """
        if len(self.prompts) == size:
            return self
        if len(self.prompts) != 1:
            raise ValueError(f"{len(self.prompts)} prompts cannot serve {size} pictures")
        return self._map(self.prompts * size, lambda value: value.expand(size, *value.shape[1:]))

    def to(self, device: torch.device | str) -> "PromptBatch":
        """Return the same prompts with their tensors on `device`."""
        return self._map(self.prompts, lambda value: value.to(device))

    def as_one_block(self) -> "PromptBatch":
        """Return the same words without sub-sentence masking."""
        whole = {id(prompt): prompt.as_one_block() for prompt in self.prompts}
        return PromptBatch.of([whole[id(prompt)] for prompt in self.prompts]).to(self.token_mask.device)

    def _map(self, prompts: tuple[Prompt, ...], change: Callable[[Tensor], Tensor]) -> "PromptBatch":
        return PromptBatch(
            prompts,
            change(self.token_mask),
            change(self.word_mask),
            change(self.phrase_map),
            change(self.classes),
            change(self.self_attention_mask),
            change(self.position_ids),
        )
