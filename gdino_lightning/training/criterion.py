"""The set losses: focal on query-token dot products, L1 and GIoU on matched boxes, for every stage.

Grounding DINO, section 3.5: contrastive classification between queries and text tokens with the focal loss, box
regression with L1 and GIoU, on each decoder layer and on the encoder's selected proposals. Everything is computed in
float32, whatever the precision of the model, and normalised by the number of boxes summed over all ranks.

Letters: K stages, B pictures, Q queries, T text tokens, N boxes in a picture, M matched pairs of one stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from gdino_lightning.boxes import cxcywh_to_xyxy, paired_giou
from gdino_lightning.training.matcher import ALPHA, GAMMA, HungarianMatcher, Match, Truth

ClassWeights = Literal["match2_loss1", "match1_loss2"]
_CLASS_WEIGHTS: dict[str, tuple[float, float]] = {"match2_loss1": (2.0, 1.0), "match1_loss2": (1.0, 2.0)}


@dataclass(frozen=True)
class Losses:
    """Losses of one step.

    Attributes:
        total: Weighted sum over all stages, the one to differentiate.
        parts: `ce`, `bbox` and `giou`, each weighted and summed over stages; they add up to `total`. Detached.
        stages: (K, 3) unweighted ce, bbox and giou of each stage. Detached.
    """

    total: Tensor
    parts: dict[str, Tensor]
    stages: Tensor


class SetCriterion(nn.Module):
    """Matches and scores every stage.

    Args:
        class_weights: Which published convention weighs the class term: `match2_loss1` (the paper's text) or
            `match1_loss2` (the paper's table 8).
        bbox_weight: Weight of L1, in matching and loss.
        giou_weight: Weight of GIoU, in matching and loss.
    """

    def __init__(
        self, class_weights: ClassWeights = "match2_loss1", bbox_weight: float = 5.0, giou_weight: float = 2.0
    ) -> None:
        super().__init__()
        match_class, loss_class = _CLASS_WEIGHTS[class_weights]
        self.matcher = HungarianMatcher(match_class, bbox_weight, giou_weight)
        self.weights = (loss_class, bbox_weight, giou_weight)

    def forward(self, logits: Tensor, boxes: Tensor, truths: Sequence[Truth]) -> Losses:
        """Score K stages against the truth.

        Args:
            logits: (K, B, Q, T) query-token dot products.
            boxes: (K, B, Q, 4) cxcywh_norm of the picture's own size.
            truths: B truths, on the same device.

        Raises:
            FloatingPointError: If logits or boxes are not finite.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, boxes = logits.float(), boxes.float()
            matches = self.matcher(logits, boxes, truths)
            normaliser = _boxes_per_rank(sum(len(truth.boxes) for truth in truths), logits.device)
            stages = torch.stack(
                [_stage_losses(logits[k], boxes[k], truths, matches[k]) / normaliser for k in range(len(logits))]
            )
            weighted = stages.sum(0) * stages.new_tensor(self.weights)
        names = ("ce", "bbox", "giou")
        parts = {name: value.detach() for name, value in zip(names, weighted, strict=True)}
        return Losses(weighted.sum(), parts, stages.detach())


def token_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of every query-token pair (Lin et al. 2017, eq. 5). Shapes: (...), (...) -> (...)."""
    prob = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = prob * (1 - targets) + (1 - prob) * targets
    alpha = ALPHA * targets + (1 - ALPHA) * (1 - targets)
    return alpha * wrong**GAMMA * entropy


def _stage_losses(logits: Tensor, boxes: Tensor, truths: Sequence[Truth], matches: Sequence[Match]) -> Tensor:
    """Summed focal, L1 and GIoU losses of one stage: (B, Q, T), (B, Q, 4) -> (3,)."""
    device = logits.device
    picture = torch.cat([torch.full_like(match.queries, b) for b, match in enumerate(matches)]).to(device)
    query = torch.cat([match.queries for match in matches]).to(device)
    pairs = [(truth, match.boxes.to(device)) for truth, match in zip(truths, matches, strict=True)]
    targets = torch.zeros_like(logits)
    targets[picture, query] = torch.cat([truth.token_map[chosen] for truth, chosen in pairs]).to(logits.dtype)
    predicted = boxes[picture, query]
    wanted = torch.cat([truth.boxes[chosen] for truth, chosen in pairs])
    giou = paired_giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted))
    return torch.stack([token_focal_loss(logits, targets).sum(), (predicted - wanted).abs().sum(), (1 - giou).sum()])


def _boxes_per_rank(count: int, device: torch.device) -> Tensor:
    """Mean number of boxes per rank, at least 1: gradients are averaged over ranks, so the sum is over all boxes."""
    boxes = torch.tensor(float(count), device=device)
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(boxes)
        boxes = boxes / distributed.get_world_size()
    return boxes.clamp(min=1)
