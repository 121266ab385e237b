"""The set losses: focal on query-token dot products, L1 and GIoU on matched boxes, for every stage.

Grounding DINO, section 3.5: contrastive classification between queries and text tokens with the focal loss, box
regression with L1 and GIoU, on each decoder layer and on the encoder's selected proposals. Everything is computed in
float32, whatever the precision of the model, and normalised by the number of boxes summed over all ranks.

Letters: K stages, L decoder layers, B pictures, Q queries, R denoising queries, T text tokens, N boxes of a picture
(padded to the fullest one), M pairs of a query and a box in one stage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.utils.rnn import pad_sequence

from gdino_lightning.boxes import cxcywh_to_xyxy, paired_giou
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.training.denoising import DenoisedOutputs
from gdino_lightning.training.matcher import ALPHA, GAMMA, ClassCost, HungarianMatcher, Match, Truth

ClassWeights = Literal["match2_loss1", "match1_loss2"]
_CLASS_WEIGHTS: dict[str, tuple[float, float]] = {"match2_loss1": (2.0, 1.0), "match1_loss2": (1.0, 2.0)}


@dataclass(frozen=True)
class Losses:
    """Losses of one step.

    Attributes:
        total: Weighted sum over all stages, the one to differentiate.
        parts: `ce`, `bbox` and `giou`, each weighted and summed over stages, and `dn`, all three of the denoising
            queries, if there were any; they add up to `total`. Detached.
        stages: (K, 3) unweighted ce, bbox and giou of each stage, without denoising. Detached.
    """

    total: Tensor
    parts: dict[str, Tensor]
    stages: Tensor


class SetCriterion(nn.Module):
    """Matches and scores every stage.

    Args:
        class_weights: Which published convention weighs the class term: `match2_loss1` (the paper's text, MM-GDINO)
            or `match1_loss2` (the paper's table 8, Open-GroundingDino).
        bbox_weight: Weight of L1, in matching and loss.
        giou_weight: Weight of GIoU, in matching and loss.
        class_cost: How a phrase's tokens make one cost in matching: `token_mean` (Open-GroundingDino) or `token_sum`
            (MM-GDINO).
    """

    def __init__(
        self,
        class_weights: ClassWeights = "match2_loss1",
        bbox_weight: float = 5.0,
        giou_weight: float = 2.0,
        class_cost: ClassCost = "token_mean",
    ) -> None:
        super().__init__()
        match_class, loss_class = _CLASS_WEIGHTS[class_weights]
        self.matcher = HungarianMatcher(match_class, bbox_weight, giou_weight, class_cost)
        self.weights = (loss_class, bbox_weight, giou_weight)

    def forward(
        self,
        logits: Tensor,
        boxes: Tensor,
        truths: Sequence[Truth],
        denoised: DenoisedOutputs | None = None,
        num_boxes: int | None = None,
    ) -> Losses:
        """Score K stages, and every decoder layer's denoising queries, against the truth.

        Args:
            logits: (K, B, Q, T) query-token dot products; anything outside of `text_mask`.
            boxes: (K, B, Q, 4) cxcywh_norm of the picture's own size.
            truths: B truths, on the same device.
            denoised: Outputs of the denoising queries drawn from the same truths.
            num_boxes: Boxes on this rank to normalise by; those of `truths` by default. More, where `truths` are the
                part of the boxes that one of several prompts asks for.

        Raises:
            FloatingPointError: If boxes or logits of tokens that count are not finite.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, boxes = logits.float(), boxes.float()
            # before the matching, which may refuse what only this rank has: the others wait for its numbers
            boxes_per_rank, num_denoised = _per_rank(
                sum(len(truth.boxes) for truth in truths) if num_boxes is None else num_boxes,
                0 if denoised is None else len(denoised.denoising.positives),
                logits.device,
            )
            matches = self.matcher(logits, boxes, truths, None if denoised is None else denoised.are_finite(truths))
            counted = torch.stack([truth.text_mask for truth in truths])[:, None]
            stages = _set_losses(logits, boxes, truths, _pairs(matches, logits.device), counted) / boxes_per_rank
            weights = stages.new_tensor(self.weights)
            parts = dict(zip(("ce", "bbox", "giou"), stages.sum(0) * weights, strict=True))
            if denoised is not None:
                layers = _set_losses(
                    denoised.logits.float(), denoised.boxes.float(), truths, denoised.pairs, denoised.counted(truths)
                )
                parts["dn"] = (layers.sum(0) * weights).sum() / num_denoised
            total = torch.stack(list(parts.values())).sum()
        return Losses(total, {name: value.detach() for name, value in parts.items()}, stages.detach())


def no_losses(outputs: StageOutputs) -> Losses:
    """Losses that are NaN, of outputs that cannot be scored: so are all gradients, on all ranks once averaged."""
    held = [outputs.logits, outputs.boxes, outputs.extra_logits, outputs.extra_boxes]
    total = torch.stack([each.float().sum() for each in held if each is not None]).sum() * math.nan
    part = total.detach()
    return Losses(total, dict.fromkeys(("ce", "bbox", "giou"), part), part.expand(len(outputs.logits), 3))


def join_losses(losses: Sequence[Losses]) -> Losses:
    """Add up the losses of several prompts about the same pictures, each normalised by all of their boxes."""
    if len(losses) == 1:
        return losses[0]
    return Losses(
        total=torch.stack([each.total for each in losses]).sum(),
        parts={name: torch.stack([each.parts[name] for each in losses]).sum() for name in losses[0].parts},
        stages=torch.stack([each.stages for each in losses]).sum(0),
    )


def token_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of every query-token pair (Lin et al. 2017, eq. 5). Shapes: (...), (...) -> (...)."""
    prob = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = prob * (1 - targets) + (1 - prob) * targets
    alpha = ALPHA * targets + (1 - ALPHA) * (1 - targets)
    return alpha * wrong**GAMMA * entropy


def _set_losses(logits: Tensor, boxes: Tensor, truths: Sequence[Truth], pairs: Tensor, counted: Tensor) -> Tensor:
    """Summed focal, L1 and GIoU losses of every stage.

    Args:
        logits: (K, B, Q, T) float32.
        boxes: (K, B, Q, 4) cxcywh_norm, float32.
        truths: B truths.
        pairs: (3, K, M) int64: picture, query and box of each pair.
        counted: (B, Q, T) or (B, 1, T) bool, the logits that have a loss; all others get a gradient of exactly zero.

    Returns:
        (K, 3).
    """
    pictures, queries, chosen = pairs
    stage = torch.arange(len(logits), device=logits.device)[:, None]
    targets = torch.zeros_like(logits)
    token_maps = pad_sequence([truth.token_map for truth in truths], batch_first=True)
    targets[stage, pictures, queries] = token_maps[pictures, chosen].to(logits.dtype)
    focal = token_focal_loss(logits.masked_fill(~counted, 0), targets) * counted
    predicted = boxes[stage, pictures, queries]
    wanted = pad_sequence([truth.boxes for truth in truths], batch_first=True)[pictures, chosen]
    giou = paired_giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted))
    l1 = (predicted - wanted).abs()
    return torch.stack([focal.sum((1, 2, 3)), l1.sum((1, 2)), (1 - giou).sum(1)], dim=1)


def _pairs(matches: Sequence[Sequence[Match]], device: torch.device) -> Tensor:
    """Picture, query and box of every match, moved in one piece: K lists of B matches -> (3, K, M)."""
    stages = [
        torch.cat([torch.stack([torch.full_like(m.queries, b), m.queries, m.boxes]) for b, m in enumerate(stage)], 1)
        for stage in matches
    ]
    return torch.stack(stages, dim=1).to(device)


def _per_rank(num_boxes: int, num_denoised: int, device: torch.device) -> Tensor:
    """Mean number of boxes and of positive denoising queries per rank, each at least 1: (2,).

    Gradients are averaged over ranks, so this divides by the sums over all ranks. Both go in one reduction, in which
    a rank without denoising queries takes part too.
    """
    counts = torch.tensor([float(num_boxes), float(num_denoised)], device=device)
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(counts)
        counts = counts / distributed.get_world_size()
    return counts.clamp(min=1)
