"""From logits and boxes to detections: one score for each (query, phrase), never a glued text.

Letters: B pictures, Q queries, T text tokens, P phrases, K detections of one picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import torch
from torch import Tensor

from gdino_lightning.boxes import clip_xyxy_px, cxcywh_norm_to_xyxy_px

ScoreOf = Literal["mean", "max"]


@dataclass
class Detections:
    """What was found in one picture, highest score first.

    Attributes:
        boxes: (K, 4) float32 xyxy_px in the picture.
        scores: (K,) float32 in 0..1.
        labels: (K,) int64 class indices, in the order of the phrases.
        names: What the labels mean, by label; empty where whoever made this did not say.
        weakest: (K,) float32, the lowest probability among the tokens of the phrase; None where it is not known.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    names: tuple[str, ...] = field(default=(), kw_only=True)
    weakest: Tensor | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        """Return the number of detections, K."""
        return len(self.scores)

    def select(self, index: Tensor) -> "Detections":
        """Return the detections that an index or a mask of shape (K,) picks, in its order."""
        weakest = None if self.weakest is None else self.weakest[index]
        return replace(
            self, boxes=self.boxes[index], scores=self.scores[index], labels=self.labels[index], weakest=weakest
        )

    def cpu(self) -> "Detections":
        """Return a copy of the detections in the main memory."""
        weakest = None if self.weakest is None else self.weakest.cpu()
        return replace(
            self, boxes=self.boxes.cpu(), scores=self.scores.cpu(), labels=self.labels.cpu(), weakest=weakest
        )

    def texts(self) -> list[str]:
        """Return the K names of what was found; a label without a name is its number."""
        return [self.names[label] if label < len(self.names) else str(label) for label in self.labels.tolist()]


def phrase_scores(logits: Tensor, phrase_map: Tensor, how: ScoreOf = "mean") -> Tensor:
    """Score every query for every phrase: the mean or the maximum of its tokens' probabilities.

    Args:
        logits: (B, Q, T); tokens of no phrase ("[CLS]", ".", padding) may hold -inf.
        phrase_map: (P, T), or (B, P, T) where prompts differ, bool: True where a token belongs to the phrase.
        how: "mean" or "max".

    Returns:
        (B, Q, P) float32 in 0..1; 0 for a phrase without a token (the padding of shorter prompts).

    Raises:
        ValueError: `how` is neither "mean" nor "max".
    """
    if how not in ("mean", "max"):
        raise ValueError(f"score must be 'mean' or 'max', not {how!r}")
    probabilities = logits.float().sigmoid()
    members = phrase_map.expand(len(logits), -1, -1)
    if how == "mean":
        sums = probabilities @ members.float().transpose(1, 2)
        return sums / members.sum(-1).clamp(min=1)[:, None]
    # one phrase at a time: (B, Q, P, T) at once would be 74 MB a picture for 80 classes
    columns = [(probabilities * members[:, p, None]).amax(-1) for p in range(members.shape[1])]
    return torch.stack(columns, dim=-1)


def nms(detections: Detections, iou: float | Tensor, *, agnostic: bool = False) -> Detections:
    """Suppress, within each label only, what overlaps a higher score by more than `iou`, or by more than its own.

    Greedy, by OpenCV: a suppressed box suppresses nothing; of equal scores the first one stays. A box without an area
    overlaps nothing.

    Args:
        detections: K of one picture, highest score first.
        iou: One overlap for all, or (K, 1), one for each detection, equal within a label.
        agnostic: Whatever the labels, the higher score suppresses.
    """
    corners = detections.boxes.double().cpu()
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    labels = (torch.zeros_like(detections.labels) if agnostic else detections.labels).cpu()
    overlaps = torch.as_tensor(iou).cpu().expand(len(detections), 1)[:, 0]
    flat = (boxes[:, 2:] <= 0).any(1)  # to OpenCV any two of them overlap, wherever they are
    keep = flat.clone()
    for value in set(overlaps.tolist()):
        members = ((overlaps == value) & ~flat).nonzero()[:, 0]
        ranks = list(range(len(members), 0, -1))  # in place of scores, of which OpenCV drops those that are 0
        kept = cv2.dnn.NMSBoxesBatched(boxes[members].tolist(), ranks, labels[members].tolist(), 0.0, value)
        keep[members[list(kept)]] = True
    return detections.select(keep.to(detections.boxes.device))


def postprocess(
    logits: Tensor,
    boxes: Tensor,
    phrase_map: Tensor,
    sizes: Sequence[tuple[int, int]],
    *,
    classes: Tensor | None = None,
    top_k: int = 300,
    score: ScoreOf = "mean",
    score_threshold: float = 0.0,
    nms_iou: float | None = None,
) -> list[Detections]:
    """Take the best (query, phrase) pairs of every picture as its detections.

    Args:
        logits: (B, Q, T) query-token dot products.
        boxes: (B, Q, 4) cxcywh_norm, relative to the picture's own size.
        phrase_map: (P, T) or (B, P, T) bool.
        sizes: (width, height) px of the B stored pictures.
        classes: (B, P) int64 class index of each phrase; by default phrases are the classes.
        top_k: pairs kept for each picture; ties go to the lower query, then the lower phrase.
        score: how the tokens of a phrase make its score.
        score_threshold: only higher scores are kept, so a phrase without a token never is.
        nms_iou: overlap above which a lower score of the same label is dropped; None keeps all.

    Returns:
        One `Detections` for each picture, its boxes clipped to the picture.
    """
    scores = phrase_scores(logits, phrase_map, score)
    found = []
    classes = torch.arange(scores.shape[-1], device=scores.device) if classes is None else classes
    classes, members = classes.expand(len(scores), -1), phrase_map.expand(len(scores), -1, -1)
    for b, (width, height) in zip(range(len(scores)), sizes, strict=True):
        best, pair = scores[b].flatten().sort(descending=True, stable=True)
        pair = pair[:top_k][best[:top_k] > score_threshold]
        query, phrase = pair // scores.shape[-1], pair % scores.shape[-1]
        corners = clip_xyxy_px(cxcywh_norm_to_xyxy_px(boxes[b].float()[query], width, height), width, height)
        weakest = logits[b][query].float().sigmoid().masked_fill(~members[b][phrase], 1.0).amin(-1)
        detections = Detections(corners, scores[b][query, phrase], classes[b][phrase], weakest=weakest)
        found.append(detections if nms_iou is None else nms(detections, nms_iou))
    return found


def merge(parts: Sequence[Detections], top_k: int = 300) -> Detections:
    """Join what several prompts found in one picture and keep the best; of equal scores the earlier prompt's.

    As each part holds its prompt's best `top_k`, the result is the best `top_k` of all. Names are those of the first.
    """
    weakest = [part.weakest for part in parts if part.weakest is not None]
    joined = Detections(
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        names=parts[0].names,
        weakest=torch.cat(weakest) if len(weakest) == len(parts) else None,
    )
    return joined.select(joined.scores.sort(descending=True, stable=True).indices[:top_k])
