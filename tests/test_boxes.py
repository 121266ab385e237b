import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gdino_lightning import boxes


def corners(draw_count: int = 1):
    side = st.floats(0, 100)
    return st.lists(st.tuples(side, side, st.floats(0.5, 50), st.floats(0.5, 50)), min_size=draw_count, max_size=8).map(
        lambda rows: torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float64)
    )


def test_formats_hand_computed():
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert boxes.xyxy_to_cxcywh(box).tolist() == [[20, 40, 20, 40]]
    norm = boxes.xyxy_px_to_cxcywh_norm(box, width=40, height=80)
    assert norm.tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert boxes.cxcywh_norm_to_xyxy_px(norm, width=40, height=80).tolist() == box.tolist()


def test_clip_keeps_what_is_inside_and_cuts_the_rest():
    given_boxes = torch.tensor([[-5.0, 2.0, 401.0, 50.0], [1.0, 1.0, 3.0, 3.0]])
    assert boxes.clip_xyxy_px(given_boxes, width=400, height=40).tolist() == [[0, 2, 400, 40], [1, 1, 3, 3]]


def test_iou_and_giou_hand_computed():
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [4.0, 0.0, 6.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    assert boxes.pairwise_iou(a, b)[0].tolist() == pytest.approx([1 / 7, 0, 1])
    # hulls: 3x3, 6x2, 2x2; unions: 7, 8, 4
    assert boxes.pairwise_giou(a, b)[0].tolist() == pytest.approx([1 / 7 - 2 / 9, -4 / 12, 1])
    assert boxes.paired_giou(a.expand(3, -1), b).tolist() == pytest.approx([1 / 7 - 2 / 9, -4 / 12, 1])


def test_empty_and_degenerate_boxes_are_finite():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert boxes.pairwise_iou(torch.zeros(0, 4), point).shape == (0, 1)
    assert torch.isfinite(boxes.pairwise_giou(point, point)).all()
    assert boxes.area(torch.tensor([[5.0, 5.0, 1.0, 9.0]])).item() == 0


@given(corners())
def test_round_trip_and_bounds(xyxy):
    back = boxes.cxcywh_norm_to_xyxy_px(boxes.xyxy_px_to_cxcywh_norm(xyxy, 640, 480), 640, 480)
    assert torch.allclose(back, xyxy, atol=1e-9)
    giou = boxes.pairwise_giou(xyxy, xyxy)
    assert (giou <= 1 + 1e-9).all()
    assert (giou > -1).all()
    assert all(math.isclose(v, 1, abs_tol=1e-9) for v in giou.diagonal().tolist())


def test_giou_gradient_agrees_with_finite_differences():
    a = torch.tensor([[0.0, 0.0, 2.0, 2.5]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: boxes.paired_giou(x, b), (a,))
