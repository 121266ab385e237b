"""Bipartite matching of queries and boxes (DETR, Carion et al. 2020, eq. 1; Grounding DINO, section 4.1).

Letters: K stages (encoder and decoder layers), B pictures, Q queries, T text tokens, N boxes in a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gdino_lightning.boxes import cxcywh_to_xyxy, pairwise_giou

ALPHA, GAMMA = 0.25, 2.0  # focal parameters (Lin et al. 2017, section 5)
ClassCost = Literal["token_mean", "token_sum"]


@dataclass(frozen=True)
class Truth:
    """What one picture should give, on the device of the predictions.

    Attributes:
        boxes: (N, 4) cxcywh_norm of the picture's own size.
        token_map: (N, T) bool, True on the tokens of each box's phrase.
        text_mask: (T,) bool, the tokens that count in matching and loss: False on padding, and on [CLS], [SEP] and
            delimiters where those shall not be negatives.
    """

    boxes: Tensor
    token_map: Tensor
    text_mask: Tensor


@dataclass(frozen=True)
class Match:
    """Matched pairs of one stage and picture: query `queries[i]` answers for box `boxes[i]` (both int64)."""

    queries: Tensor
    boxes: Tensor


class HungarianMatcher:
    """Finds the assignment of least cost for every stage and picture.

    Args:
        class_weight: Weight of the focal class cost.
        bbox_weight: Weight of the L1 distance of normalised boxes.
        giou_weight: Weight of the negative generalised IoU.
        class_cost: How a phrase's tokens make one class cost. `token_mean` is the mean over the phrase's tokens of
            the focal cost of saying yes minus that of saying no (Open-GroundingDino). `token_sum` is the focal loss
            that the match would leave: yes on the phrase's tokens plus no on all others, summed (MM-GDINO); a query
            that says yes elsewhere pays for it.
    """

    def __init__(
        self,
        class_weight: float = 2.0,
        bbox_weight: float = 5.0,
        giou_weight: float = 2.0,
        class_cost: ClassCost = "token_mean",
    ) -> None:
        self.class_weight, self.bbox_weight, self.giou_weight = class_weight, bbox_weight, giou_weight
        self._class_cost = {"token_mean": _token_mean, "token_sum": _token_sum}[class_cost]

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, boxes: Tensor, truths: Sequence[Truth], healthy: Tensor | None = None
    ) -> list[list[Match]]:
        """Match all stages with one transfer to the host.

        Args:
            logits: (K, B, Q, T) float32; anything outside of `text_mask`.
            boxes: (K, B, Q, 4) cxcywh_norm, float32.
            truths: B truths.
            healthy: () bool, whether the model's other outputs are finite: it travels with the costs.

        Returns:
            K lists of B matches, each with min(Q, N) pairs.

        Raises:
            FloatingPointError: If a box, a logit of a token that counts or a cost is not finite, or `healthy` is False.
        """
        costs = [self._cost(logits[:, b], boxes[:, b], truth).flatten() for b, truth in enumerate(truths)]
        counted = torch.stack([truth.text_mask for truth in truths])[:, None]
        finite = (torch.isfinite(logits) | ~counted).all() & torch.isfinite(boxes).all()
        finite = finite if healthy is None else finite & healthy
        host = torch.cat([*costs, finite[None].float()]).cpu()
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
        logits = logits.masked_fill(~truth.text_mask, 0)  # -inf on padding would make 0 * inf
        prob = logits.sigmoid()
        positive = ALPHA * (1 - prob) ** GAMMA * -F.logsigmoid(logits)
        negative = (1 - ALPHA) * prob**GAMMA * -F.logsigmoid(-logits)
        class_cost = self._class_cost(positive, negative, truth)
        bbox_cost = torch.cdist(boxes, truth.boxes.expand(len(boxes), -1, -1), p=1)
        flat = cxcywh_to_xyxy(boxes).flatten(0, 1)
        giou_cost = -pairwise_giou(flat, cxcywh_to_xyxy(truth.boxes)).view_as(bbox_cost)
        return self.class_weight * class_cost + self.bbox_weight * bbox_cost + self.giou_weight * giou_cost


def _token_mean(positive: Tensor, negative: Tensor, truth: Truth) -> Tensor:
    """Mean over each phrase's tokens of yes minus no: (K, Q, T), (K, Q, T) -> (K, Q, N)."""
    phrases = (truth.token_map & truth.text_mask).float()
    phrases = phrases / phrases.sum(-1, keepdim=True).clamp(min=1)
    return (positive - negative) @ phrases.T


def _token_sum(positive: Tensor, negative: Tensor, truth: Truth) -> Tensor:
    """Sum of yes on each phrase's tokens and no on all others that count: (K, Q, T), (K, Q, T) -> (K, Q, N)."""
    phrases = (truth.token_map & truth.text_mask).float()
    others = (~truth.token_map & truth.text_mask).float()
    return positive @ phrases.T + negative @ others.T
