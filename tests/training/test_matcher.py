import itertools
import math

import pytest
import torch

from gdino_lightning.training.matcher import HungarianMatcher, Truth


def focal_cost(p: float) -> float:
    return 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)


def test_cost_of_one_pair_hand_computed():
    logits = torch.tensor([[[[0.0, math.log(3.0), -9.0]]]])  # probabilities .5, .75, about 0
    boxes = torch.tensor([[[[0.5, 0.5, 0.2, 0.2]]]])
    truth = Truth(torch.tensor([[0.6, 0.5, 0.2, 0.2]]), torch.tensor([[True, True, False]]))
    cost = HungarianMatcher(2, 5, 2)._cost(logits[:, 0], boxes[:, 0], truth).item()
    classes = (focal_cost(0.5) + focal_cost(0.75)) / 2
    # boxes of .2 x .2 shifted by .1: intersection .02, union .06, hull .06
    assert cost == pytest.approx(2 * classes + 5 * 0.1 - 2 * (0.02 / 0.06), abs=1e-5)


def test_least_cost_among_all_assignments():
    generator = torch.Generator().manual_seed(0)
    matcher = HungarianMatcher()
    for _ in range(20):
        logits = torch.randn(1, 1, 5, 4, generator=generator)
        boxes = torch.rand(1, 1, 5, 4, generator=generator) * 0.4 + 0.1
        truth = Truth(torch.rand(3, 4, generator=generator) * 0.4 + 0.1, torch.eye(3, 4, dtype=torch.bool))
        cost = matcher._cost(logits[:, 0], boxes[:, 0], truth)[0]
        best = min(sum(cost[q, n] for n, q in enumerate(order)) for order in itertools.permutations(range(5), 3))
        match = matcher(logits, boxes, [truth])[0][0]
        assert cost[match.queries, match.boxes].sum().item() == pytest.approx(best.item(), abs=1e-5)


def test_stages_and_pictures_are_matched_apart():
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    stage = torch.stack([boxes, boxes.flip(0)])  # picture 0 in order, picture 1 reversed
    truths = [Truth(boxes, torch.ones(2, 1, dtype=torch.bool))] * 2
    matches = HungarianMatcher()(torch.zeros(2, 2, 2, 1), torch.stack([stage, stage.flip(0)]), truths)
    found = [[dict(zip(m.boxes.tolist(), m.queries.tolist(), strict=True)) for m in row] for row in matches]
    in_order, reversed_ = {0: 0, 1: 1}, {0: 1, 1: 0}
    assert found == [[in_order, reversed_], [reversed_, in_order]]


def test_no_boxes_and_more_boxes_than_queries():
    empty = Truth(torch.zeros(0, 4), torch.zeros(0, 2, dtype=torch.bool))
    many = Truth(torch.rand(5, 4) * 0.2 + 0.3, torch.ones(5, 2, dtype=torch.bool))
    ((first, second),) = HungarianMatcher()(torch.zeros(1, 2, 3, 2), torch.full((1, 2, 3, 4), 0.4), [empty, many])
    assert len(first.queries) == 0
    assert len(second.queries) == 3
    assert len(set(second.boxes.tolist())) == 3


def test_non_finite_outputs_are_refused():
    truth = Truth(torch.full((1, 4), 0.5), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(FloatingPointError, match="NaN"):
        HungarianMatcher()(torch.full((1, 1, 3, 2), float("nan")), torch.full((1, 1, 3, 4), 0.4), [truth])
