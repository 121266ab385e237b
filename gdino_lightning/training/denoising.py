"""Contrastive denoising: extra queries that start from disturbed boxes and names and must restore them.

DINO (Zhang et al. 2022, section 3.3), with the settings of MM-GDINO (Zhao et al. 2024). Those queries need no
matching, so they give a steady signal while the matching of the others still jumps. Here a query's content is the
mean of its phrase's tokens, not a row of a table of classes, so any phrase can be denoised.

Letters: B pictures, N boxes of a picture (padded to the fullest one), G groups, R = 2 G N extra queries, P phrases,
T text tokens, L decoder layers, M = positive queries of all pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gdino_lightning.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from gdino_lightning.model.features import ExtraQueries
from gdino_lightning.training.matcher import Truth

FLIPPED = 0.25  # share of the labels that are drawn anew: half of a label noise scale of .5
BOX_NOISE = 0.5  # most that a positive's corner moves, in side lengths: half of a box noise scale of 1
EDGE = 1e-3  # centres and sizes stay this far from 0 and 1, where DINO clips its inverse sigmoid


@dataclass(frozen=True)
class Denoising:
    """Disturbed boxes and phrases as extra queries, and what they should give.

    Positive query i should give box `boxes[i]` of picture `pictures[i]` and its true phrase; every other query that
    is no padding should give nothing.

    Attributes:
        queries: R extra queries for each picture: group by group, first the positives, then the negatives.
        pictures: (M,) int64 picture of each positive query.
        positives: (M,) int64 its place among the picture's R queries.
        boxes: (M,) int64 its box among the picture's own.
        num_groups: G; each box of a picture occurs in every group.
    """

    queries: ExtraQueries
    pictures: Tensor
    positives: Tensor
    boxes: Tensor
    num_groups: int


@dataclass(frozen=True)
class DenoisedOutputs:
    """What the decoder made of the extra queries.

    Attributes:
        denoising: The queries it was given.
        logits: (L, B, R, T) query-token dot products; anything outside of `Truth.text_mask`.
        boxes: (L, B, R, 4) cxcywh_norm of the picture's own size.
    """

    denoising: Denoising
    logits: Tensor
    boxes: Tensor

    @property
    def pairs(self) -> Tensor:
        """(3, L, M) int64 picture, query and box of each positive query: the same in every layer."""
        drawn = self.denoising
        return torch.stack([drawn.pictures, drawn.positives, drawn.boxes])[:, None].expand(-1, len(self.logits), -1)

    def counted(self, truths: Sequence[Truth]) -> Tensor:
        """(B, R, T) bool, the logits that have a loss: of real queries, at tokens that count."""
        return self._real & torch.stack([truth.text_mask for truth in truths])[:, None]

    def are_finite(self, truths: Sequence[Truth]) -> Tensor:
        """() bool, whether the boxes of real queries and all logits that count are finite."""
        logits = torch.isfinite(self.logits) | ~self.counted(truths)
        return logits.all() & (torch.isfinite(self.boxes) | ~self._real).all()

    @property
    def _real(self) -> Tensor:
        """(B, R, 1) bool, False on padding."""
        return (self.denoising.queries.groups >= 0)[..., None]


def draw_denoising(
    truths: Sequence[Truth], phrase_maps: Sequence[Tensor], count: int, generator: torch.Generator | None = None
) -> Denoising | None:
    """Draw a positive and a negative query for every box and group.

    A corner moves along each axis by less than half the box's side in a positive query, by half a side to a whole
    one in a negative one, and is clipped to the picture. A quarter of all labels, the negatives' too, are drawn anew
    from the picture's phrases, so some come out right again. Pictures with fewer boxes than the fullest are padded.

    Args:
        truths: B truths.
        phrase_maps: B bool tensors (P, T), on the device of the truths: the phrases that a label can become. P may
            differ, T not; padding rows without a token come last and are never drawn.
        count: About how many positive queries to draw for a picture: G is `count` over the most boxes of a picture,
            at least 1.
        generator: CPU generator to draw from, so that every device draws the same; None for torch's own.

    Returns:
        The queries on the device of the truths, or None where no picture has a box.
    """
    sizes = torch.tensor([len(truth.boxes) for truth in truths])
    most = int(sizes.max())
    if most == 0:
        return None
    device = truths[0].boxes.device
    num_groups = max(1, count // most)
    exists = torch.arange(most) < sizes[:, None]  # (B, N)
    positive = exists[:, None].expand(-1, num_groups, -1)
    pictures, group, box = positive.nonzero(as_tuple=True)
    groups = torch.arange(num_groups)[:, None, None].where(exists[:, None, None], -1)  # (B, G, 1, N)
    groups = groups.expand(-1, -1, 2, -1).flatten(1).to(device)
    draws = torch.rand(len(truths), num_groups, 2, most, 10, generator=generator).to(device)
    queries = ExtraQueries(
        _flip(truths, phrase_maps, draws[..., 8], draws[..., 9]).masked_fill((groups < 0)[..., None], 0),
        _shake(truths, draws[..., :4], draws[..., 4:8]),
        groups,
    )
    positives = group * 2 * most + box
    return Denoising(queries, pictures.to(device), positives.to(device), box.to(device), num_groups)


def _shake(truths: Sequence[Truth], amounts: Tensor, signs: Tensor) -> Tensor:
    """Move every corner: two (B, G, 2, N, 4) draws from [0, 1) -> (B, R, 4) cxcywh_norm."""
    boxes = pad_sequence([truth.boxes for truth in truths], batch_first=True)[:, None, None]
    sides = torch.cat([boxes[..., 2:]] * 2, dim=-1)
    negative = torch.arange(2, device=boxes.device)[:, None, None]
    moves = (amounts + negative) * sides * BOX_NOISE
    corners = cxcywh_to_xyxy(boxes) + torch.where(signs < 0.5, -moves, moves)
    # The corners of a negative can change places; its size is then the least one, as published.
    return xyxy_to_cxcywh(corners.clamp(0, 1)).clamp(EDGE, 1 - EDGE).flatten(1, 3)


def _flip(truths: Sequence[Truth], phrase_maps: Sequence[Tensor], chances: Tensor, draws: Tensor) -> Tensor:
    """Name every query, some wrongly: two (B, G, 2, N) draws from [0, 1) -> (B, R, T) weights of a mean of tokens."""
    true = pad_sequence([truth.token_map for truth in truths], batch_first=True)
    choices = pad_sequence(list(phrase_maps), batch_first=True)
    num_phrases = choices.any(-1).sum(1)
    drawn = (draws * num_phrases[:, None, None, None]).long()
    picture = torch.arange(len(truths), device=draws.device)[:, None, None, None]
    names = torch.where((chances < FLIPPED)[..., None], choices[picture, drawn], true[:, None, None])
    weights = names.flatten(1, 3).float()
    return weights / weights.sum(-1, keepdim=True).clamp(min=1)
