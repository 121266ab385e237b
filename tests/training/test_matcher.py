import itertools
import math

import pytest
import torch

from gdino_lightning.training.matcher import HungarianMatcher, Truth

INF = float("inf")


def yes(p: float) -> float:
    return 0.25 * (1 - p) ** 2 * -math.log(p)


def no(p: float) -> float:
    return 0.75 * p**2 * -math.log(1 - p)


def truth(boxes: torch.Tensor, token_map: torch.Tensor, text_mask: torch.Tensor | None = None) -> Truth:
    every = torch.ones(token_map.shape[-1], dtype=torch.bool)
    return Truth(boxes, token_map, every if text_mask is None else text_mask)


# probabilities .5 and .75 on the phrase's tokens, .25 on another word, padding
LOGITS = torch.tensor([[[[0.0, math.log(3.0), -math.log(3.0), -INF]]]])
BOX = torch.tensor([[[[0.5, 0.5, 0.2, 0.2]]]])
TRUTH = Truth(
    torch.tensor([[0.6, 0.5, 0.2, 0.2]]),
    torch.tensor([[True, True, False, False]]),
    torch.tensor([True, True, True, False]),
)
BOX_COST = 5 * 0.1 - 2 * (0.02 / 0.06)  # boxes of .2 x .2 shifted by .1: intersection .02, union .06, hull .06


def test_token_mean_cost_of_one_pair_hand_computed():
    cost = HungarianMatcher(2, 5, 2, "token_mean")._cost(LOGITS[:, 0], BOX[:, 0], TRUTH).item()
    classes = (yes(0.5) - no(0.5) + yes(0.75) - no(0.75)) / 2
    assert cost == pytest.approx(2 * classes + BOX_COST, abs=1e-5)


def test_token_sum_cost_of_one_pair_hand_computed():
    cost = HungarianMatcher(2, 5, 2, "token_sum")._cost(LOGITS[:, 0], BOX[:, 0], TRUTH).item()
    assert cost == pytest.approx(2 * (yes(0.5) + yes(0.75) + no(0.25)) + BOX_COST, abs=1e-5)


def test_a_phrase_is_the_mean_of_those_of_its_tokens_that_count():
    second_only = Truth(TRUTH.boxes, TRUTH.token_map, torch.tensor([False, True, True, False]))
    cost = HungarianMatcher(2, 5, 2, "token_mean")._cost(LOGITS[:, 0], BOX[:, 0], second_only).item()
    assert cost == pytest.approx(2 * (yes(0.75) - no(0.75)) + BOX_COST, abs=1e-5)


def test_a_query_that_says_yes_to_other_words_too_loses_its_box_only_under_token_sum():
    both_words, one_word = [3.0, 3.0], [2.5, -3.0]
    logits = torch.tensor([[[both_words, one_word]]])
    boxes = torch.full((1, 1, 2, 4), 0.4)
    wanted = truth(torch.full((1, 4), 0.4), torch.tensor([[True, False]]))
    for class_cost, query in (("token_mean", 0), ("token_sum", 1)):
        assert HungarianMatcher(class_cost=class_cost)(logits, boxes, [wanted])[0][0].queries.tolist() == [query]


def test_class_costs_of_extreme_logits_stay_exact():
    """At 40 and -40 a float32 probability is 1 and 0: log(p + eps) would stop at its epsilon."""
    logits = torch.tensor([[[[-40.0, 40.0]]]])
    wanted = truth(torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[True, False]]))
    cost = HungarianMatcher(1, 0, 0, "token_sum")._cost(logits[:, 0], BOX[:, 0], wanted).item()
    assert cost == pytest.approx(0.25 * 40 + 0.75 * 40, rel=1e-6)


@pytest.mark.parametrize("class_cost", ["token_mean", "token_sum"])
def test_least_cost_among_all_assignments(class_cost):
    generator = torch.Generator().manual_seed(0)
    matcher = HungarianMatcher(class_cost=class_cost)
    for _ in range(20):
        logits = torch.randn(1, 1, 5, 4, generator=generator)
        boxes = torch.rand(1, 1, 5, 4, generator=generator) * 0.4 + 0.1
        wanted = truth(torch.rand(3, 4, generator=generator) * 0.4 + 0.1, torch.eye(3, 4, dtype=torch.bool))
        cost = matcher._cost(logits[:, 0], boxes[:, 0], wanted)[0]
        best = min(sum(cost[q, n] for n, q in enumerate(order)) for order in itertools.permutations(range(5), 3))
        match = matcher(logits, boxes, [wanted])[0][0]
        assert cost[match.queries, match.boxes].sum().item() == pytest.approx(best.item(), abs=1e-5)


@pytest.mark.parametrize("class_cost", ["token_mean", "token_sum"])
@pytest.mark.parametrize("hidden", [-INF, INF, float("nan"), 1e4])
def test_what_stands_outside_the_text_mask_changes_no_cost(class_cost, hidden):
    matcher = HungarianMatcher(class_cost=class_cost)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 6, generator=generator)
    boxes = torch.rand(2, 5, 4, generator=generator) * 0.4 + 0.1
    wanted = truth(torch.rand(3, 4, generator=generator) * 0.4 + 0.1, torch.eye(3, 6, dtype=torch.bool))
    short = truth(wanted.boxes, wanted.token_map[:, :4])
    alone = matcher._cost(logits[..., :4], boxes, short)
    logits[..., 4:] = hidden
    padded = Truth(wanted.boxes, wanted.token_map, torch.tensor([True] * 4 + [False] * 2))
    assert torch.equal(matcher._cost(logits, boxes, padded), alone)
    assert matcher(logits[:, None], boxes[:, None], [padded])  # and it raises nothing


def test_stages_and_pictures_are_matched_apart():
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    stage = torch.stack([boxes, boxes.flip(0)])  # picture 0 in order, picture 1 reversed
    truths = [truth(boxes, torch.ones(2, 1, dtype=torch.bool))] * 2
    matches = HungarianMatcher()(torch.zeros(2, 2, 2, 1), torch.stack([stage, stage.flip(0)]), truths)
    found = [[dict(zip(m.boxes.tolist(), m.queries.tolist(), strict=True)) for m in row] for row in matches]
    in_order, reversed_ = {0: 0, 1: 1}, {0: 1, 1: 0}
    assert found == [[in_order, reversed_], [reversed_, in_order]]


def test_no_boxes_and_more_boxes_than_queries():
    empty = truth(torch.zeros(0, 4), torch.zeros(0, 2, dtype=torch.bool))
    many = truth(torch.rand(5, 4) * 0.2 + 0.3, torch.ones(5, 2, dtype=torch.bool))
    ((first, second),) = HungarianMatcher()(torch.zeros(1, 2, 3, 2), torch.full((1, 2, 3, 4), 0.4), [empty, many])
    assert len(first.queries) == 0
    assert len(second.queries) == 3
    assert len(set(second.boxes.tolist())) == 3


@pytest.mark.parametrize("bad", [float("nan"), INF, -INF])
def test_non_finite_logits_of_words_are_refused(bad):
    wanted = truth(torch.full((1, 4), 0.5), torch.ones(1, 2, dtype=torch.bool))
    logits = torch.zeros(1, 1, 3, 2)
    logits[0, 0, 2, 1] = bad
    with pytest.raises(FloatingPointError, match="NaN"):
        HungarianMatcher()(logits, torch.full((1, 1, 3, 4), 0.4), [wanted])


def test_other_outputs_that_are_not_finite_are_refused_in_the_same_transfer():
    wanted = truth(torch.full((1, 4), 0.5), torch.ones(1, 2, dtype=torch.bool))
    outputs = torch.zeros(1, 1, 3, 2), torch.full((1, 1, 3, 4), 0.4), [wanted]
    assert len(HungarianMatcher()(*outputs, torch.tensor(True))) == 1
    with pytest.raises(FloatingPointError, match="NaN"):
        HungarianMatcher()(*outputs, torch.tensor(False))
