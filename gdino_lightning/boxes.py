"""Box formats, clipping and overlap. The unit is in the name: `xyxy_px`, `xyxy_norm`, `cxcywh_norm`.

Letters: N, M boxes. Coordinates are continuous: a box from 0 to W covers the whole width, so an area is
(x2 - x1) * (y2 - y1) without the "+ 1" of pixel-index conventions.
"""

import torch
from torch import Tensor


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert corners to centre and size, in the same unit. Shapes: (..., 4) -> (..., 4)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert centre and size to corners, in the same unit. Shapes: (..., 4) -> (..., 4)."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), dim=-1)


def xyxy_px_to_cxcywh_norm(boxes_px: Tensor, width: float, height: float) -> Tensor:
    """Normalise pixel corners by the picture's own size (never by a padded canvas). Shape (N, 4)."""
    return xyxy_to_cxcywh(boxes_px / boxes_px.new_tensor([width, height, width, height]))


def cxcywh_norm_to_xyxy_px(boxes_norm: Tensor, width: float, height: float) -> Tensor:
    """Undo `xyxy_px_to_cxcywh_norm`. Shape (N, 4)."""
    return cxcywh_to_xyxy(boxes_norm) * boxes_norm.new_tensor([width, height, width, height])


def clip_xyxy_px(boxes_px: Tensor, width: float, height: float) -> Tensor:
    """Clip corners to the picture: x to [0, width], y to [0, height]. Shape (N, 4)."""
    limit = boxes_px.new_tensor([width, height, width, height])
    return torch.minimum(boxes_px.clamp(min=0), limit)


def area(boxes_xyxy: Tensor) -> Tensor:
    """Areas of corner boxes, 0 for inverted ones. Shapes: (..., 4) -> (...)."""
    size = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def pairwise_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of every pair; 0 where both areas are 0. Shapes: (N, 4), (M, 4) -> (N, M)."""
    intersection, union = _intersection_union(a_xyxy[:, None], b_xyxy[None])
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def pairwise_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Generalised IoU of every pair (Rezatofighi et al. 2019, eq. 3). Shapes: (N, 4), (M, 4) -> (N, M)."""
    return _giou(a_xyxy[:, None], b_xyxy[None])


def paired_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Generalised IoU of box i of `a` with box i of `b`. Shapes: (N, 4), (N, 4) -> (N,)."""
    return _giou(a_xyxy, b_xyxy)


def _intersection_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    size = (bottom_right - top_left).clamp(min=0)
    intersection = size[..., 0] * size[..., 1]
    return intersection, area(a) + area(b) - intersection


def _giou(a: Tensor, b: Tensor) -> Tensor:
    tiny = torch.finfo(a.dtype).tiny
    intersection, union = _intersection_union(a, b)
    top_left = torch.minimum(a[..., :2], b[..., :2])
    bottom_right = torch.maximum(a[..., 2:], b[..., 2:])
    size = (bottom_right - top_left).clamp(min=0)
    hull = size[..., 0] * size[..., 1]
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)
