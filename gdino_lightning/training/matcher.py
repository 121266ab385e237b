"""Bipartite matching of queries and boxes (DETR, Carion et al. 2020, eq. 1; Grounding DINO, section 4.1).

Letters: K stages (encoder and decoder layers), B pictures, Q queries, T text tokens, N boxes in a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gdino_lightning.boxes import cxcywh_to_xyxy, pairwise_giou

ALPHA, GAMMA = 0.25, 2.0  # focal parameters (Lin et al. 2017, section 5)


@dataclass(frozen=True)
class Truth:
    """What one picture should give, on the device of the predictions.

    Attributes:
        boxes: (N, 4) cxcywh_norm of the picture's own size.
        token_map: (N, T) bool, True on the tokens of each box's phrase.
    """

    boxes: Tensor
    token_map: Tensor


@dataclass(frozen=True)
class Match:
    """Matched pairs of one stage and picture: query `queries[i]` answers for box `boxes[i]` (both int64)."""

    queries: Tensor
    boxes: Tensor


class HungarianMatcher:
    """Finds the assignment of least cost for every stage and picture.

    Args:
        class_weight: Weight of the focal class cost, averaged over a phrase's tokens.
        bbox_weight: Weight of the L1 distance of normalised boxes.
        giou_weight: Weight of the negative generalised IoU.
    """

    def __init__(self, class_weight: float = 2.0, bbox_weight: float = 5.0, giou_weight: float = 2.0) -> None:
        self.class_weight, self.bbox_weight, self.giou_weight = class_weight, bbox_weight, giou_weight

    @torch.no_grad()
    def __call__(self, logits: Tensor, boxes: Tensor, truths: Sequence[Truth]) -> list[list[Match]]:
        """Match all stages with one transfer to the host.

        Args:
            logits: (K, B, Q, T) float32.
            boxes: (K, B, Q, 4) cxcywh_norm, float32.
            truths: B truths.

        Returns:
            K lists of B matches, each with min(Q, N) pairs.

        Raises:
            FloatingPointError: If a logit, a box or a cost is not finite.
        """
        costs = [self._cost(logits[:, b], boxes[:, b], truth).flatten() for b, truth in enumerate(truths)]
        healthy = torch.isfinite(logits).all() & torch.isfinite(boxes).all()
        host = torch.cat([*costs, healthy[None].float()]).cpu()
        if not host[-1] or not torch.isfinite(host).all():
            raise FloatingPointError("matching costs are not finite: the model's outputs hold NaN or infinity")
        stages, queries = logits.shape[0], logits.shape[2]
        matches: list[list[Match]] = [[] for _ in range(stages)]
        for truth, cost in zip(truths, torch.split(host[:-1], [len(cost) for cost in costs]), strict=True):
            for stage, table in enumerate(cost.view(stages, queries, len(truth.boxes)).numpy()):
                rows, columns = linear_sum_assignment(table)
                matches[stage].append(Match(torch.from_numpy(rows), torch.from_numpy(columns)))
        return matches

    def _cost(self, logits: Tensor, boxes: Tensor, truth: Truth) -> Tensor:
        """Cost of every pair of one picture in every stage: (K, Q, T), (K, Q, 4) -> (K, Q, N)."""
        prob = logits.sigmoid()
        positive = ALPHA * (1 - prob) ** GAMMA * -torch.nn.functional.logsigmoid(logits)
        negative = (1 - ALPHA) * prob**GAMMA * -torch.nn.functional.logsigmoid(-logits)
        weights = truth.token_map.float()
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
        class_cost = (positive - negative) @ weights.T
        bbox_cost = torch.cdist(boxes, truth.boxes.expand(len(boxes), -1, -1), p=1)
        flat = cxcywh_to_xyxy(boxes).flatten(0, 1)
        giou_cost = -pairwise_giou(flat, cxcywh_to_xyxy(truth.boxes)).view_as(bbox_cost)
        return self.class_weight * class_cost + self.bbox_weight * bbox_cost + self.giou_weight * giou_cost
