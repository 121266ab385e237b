"""Text encoded once: blocks of many prompts in one call, remembered where nothing can change them.

Letters: B prompts, T text tokens, H width of the text encoder.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gdino_lightning.prompt import Prompt

CACHE_SIZE = 4096  # blocks that are kept; with BERT some 100 MB

TokenIds = tuple[int, ...]


class BlockEncoder:
    """Runs the text encoder over the distinct blocks of a batch, each once.

    What it finds is kept from batch to batch while no gradient can flow into the encoder and its dropout is off: for
    a whole run if it is frozen, during an evaluation if it learns. A changed prompt then encodes its new blocks only.
    The newest `CACHE_SIZE` blocks are kept. Weights that are written through `.data` escape notice: `clear` afterwards.

    Args:
        backbone: The text encoder. It is used, not owned: its weights stay where transformers has them.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self._backbone = backbone
        self._cache: dict[TokenIds, Tensor] = {}
        self._context: tuple[object, ...] = ()

    def clear(self) -> None:
        """Forget all blocks; to be called when the encoder's weights may have changed behind autograd's back."""
        self._cache.clear()

    def __call__(self, prompts: Iterable[Prompt]) -> tuple[Tensor, dict[TokenIds, int]]:
        """Encode the blocks of some prompts.

        Returns:
            (tokens of all distinct blocks, H) features, and the row at which each block begins.
        """
        blocks = list(dict.fromkeys(block for prompt in prompts for block in prompt.blocks))
        starts, row = {}, 0
        for block in blocks:
            starts[block] = row
            row += len(block)
        if self._backbone.training or (torch.is_grad_enabled() and self._learns()):
            return torch.cat(self._encode(blocks)), starts
        return torch.cat(self._remembered(blocks)), starts

    def _learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self._backbone.parameters())

    def _remembered(self, blocks: list[TokenIds]) -> list[Tensor]:
        context = self._surroundings()
        if context != self._context:
            self._cache.clear()
            self._context = context
        missing = [block for block in blocks if block not in self._cache]
        if missing:
            # tensors born in inference mode could not take part in a training step later
            with torch.inference_mode(False), torch.no_grad():
                self._cache.update(zip(missing, self._encode(missing), strict=True))
        found = [self._cache[block] for block in blocks]
        for oldest in list(self._cache)[: max(0, len(self._cache) - CACHE_SIZE)]:
            del self._cache[oldest]
        return found

    def _surroundings(self) -> tuple[object, ...]:
        """What else the numbers depend on: the weights as they are, their device, precision and autocast."""
        weights = list(self._backbone.parameters())
        kind = weights[0].device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        # torch counts the changes of a tensor, whether by an optimizer or by loading
        changes = sum(0 if weight.is_inference() else weight._version for weight in weights)
        return weights[0].device, weights[0].dtype, weights[0].data_ptr(), autocast, changes

    def _encode(self, blocks: list[TokenIds]) -> list[Tensor]:
        """Encode blocks in one padded call; each gives (its tokens, H)."""
        device = next(self._backbone.parameters()).device
        lengths = torch.tensor([len(block) for block in blocks])
        longest = int(lengths.max())
        ids = torch.tensor([[*block, *([0] * (longest - len(block)))] for block in blocks]).to(device)
        present = (torch.arange(longest) < lengths[:, None]).to(device)
        mask = present[:, None, None, :].expand(-1, 1, longest, -1)
        positions = torch.arange(longest, device=device).expand(len(blocks), -1)
        hidden = self._backbone(ids, mask, torch.zeros_like(ids), positions).last_hidden_state
        # copies: a view would keep the whole padded call in memory
        return [features[: len(block)].clone() for features, block in zip(hidden, blocks, strict=True)]


def token_rows(prompts: Sequence[Prompt], tokens: int, starts: dict[TokenIds, int]) -> Tensor:
    """Say where in the encoded blocks each token is: (prompts, `tokens`) int64; padding points at the first row."""
    rows = torch.zeros(len(prompts), tokens, dtype=torch.int64)
    for b, prompt in enumerate(prompts):
        index = torch.cat([torch.arange(starts[block], starts[block] + len(block)) for block in prompt.blocks])
        rows[b, : len(index)] = index
    return rows
