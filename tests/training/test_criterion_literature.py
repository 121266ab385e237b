"""The unweighted losses of every stage against two published trainers, each told again from its definition.

Open-GroundingDino (github.com/longzw1997/Open-GroundingDino, models/GroundingDINO: matcher.py, class SetCriterion of
groundingdino.py, cfg_odvg.py): matching costs 1/5/2 for class, L1 and GIoU; the class cost of a query and a box is the
mean, over the tokens of the box's phrase, of the focal cost of yes minus that of no, with log(p + 1e-8). The class loss
is the sigmoid focal loss (alpha .25, gamma 2) of every query at every token of the attention mask, so [CLS], [SEP] and
delimiters are negatives; it is divided by the number of matched pairs, L1 and GIoU by the number of boxes. On one
process and with more queries than boxes both are the number of boxes. Losses are weighed 2/5/2.

MM-GDINO (Zhao et al. 2024; github.com/open-mmlab/mmdetection: match_cost.py with BinaryFocalLossCost, and
grounding_dino_head.py): costs 2/5/2; the class cost sums, over all tokens of the attention mask, the focal cost of yes
on the phrase's tokens and that of no on the others, with log(p + 1e-12). Losses are weighed 1/5/2 and divided by the
number of matched pairs; the background counts nothing in that number.

Both match with scipy's linear_sum_assignment, in each stage and picture apart.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth

STAGES, QUERIES = 3, 14


@dataclass(frozen=True)
class Picture:
    """One picture in plain terms: its own text is not padded."""

    logits: np.ndarray  # (K, Q, own number of tokens)
    predicted: np.ndarray  # (K, Q, 4)
    boxes: np.ndarray  # (N, 4)
    labels: list[int]
    phrases: list[list[int]]  # token indices of each phrase


def draw_picture(rng, lengths, count):
    """A picture whose prompt reads [CLS], then for each phrase its tokens and a delimiter, then [SEP]."""
    phrases, position = [], 1
    for length in lengths:
        phrases.append(list(range(position, position + length)))
        position += length + 1
    sizes = rng.uniform(0.05, 0.5, (STAGES * QUERIES + count, 2))
    centres = sizes / 2 + rng.uniform(0, 1, sizes.shape) * (1 - sizes)
    boxes = np.concatenate([centres, sizes], axis=1).astype(np.float32)
    return Picture(
        rng.normal(-1, 2, (STAGES, QUERIES, position + 1)).astype(np.float32),
        boxes[count:].reshape(STAGES, QUERIES, 4),
        boxes[:count],
        rng.integers(0, len(lengths), count).tolist(),
        phrases,
    )


def draw_batch(seed):
    """Four prompts of different lengths; crowded, empty, single and middling pictures."""
    rng = np.random.default_rng(seed)
    return [
        draw_picture(rng, [2, 1, 3], 11),
        draw_picture(rng, [1, 1], 0),
        draw_picture(rng, [4], 1),
        draw_picture(rng, [1, 2, 1, 5, 1], 6),
    ]


def as_tensors(pictures):
    """The batch as the criterion gets it: text padded to the longest, logits there -inf."""
    longest = max(p.logits.shape[-1] for p in pictures)
    logits = torch.full((STAGES, len(pictures), QUERIES, longest), -torch.inf)
    truths = []
    for b, p in enumerate(pictures):
        logits[:, b, :, : p.logits.shape[-1]] = torch.from_numpy(p.logits)
        token_map = torch.zeros(len(p.boxes), longest, dtype=torch.bool)
        for n, label in enumerate(p.labels):
            token_map[n, p.phrases[label]] = True
        truths.append(Truth(torch.from_numpy(p.boxes), token_map, torch.arange(longest) < p.logits.shape[-1]))
    return logits, torch.stack([torch.from_numpy(p.predicted) for p in pictures], 1), truths


def overlap(a, b):
    """Generalised IoU of two cxcywh boxes, one number at a time."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (map(float, a), map(float, b))
    )
    common = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - common
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return common / union - (hull - union) / hull


def box_terms(picture, stage):
    """L1 distances and generalised IoUs of every query and box: two (Q, N) arrays."""
    queries = picture.predicted[stage].astype(np.float64)
    l1 = np.abs(queries[:, None] - picture.boxes[None].astype(np.float64)).sum(-1)
    return l1, np.array([[overlap(q, t) for t in picture.boxes] for q in queries]).reshape(l1.shape)


def probabilities(picture, stage):
    return 1 / (1 + np.exp(-picture.logits[stage].astype(np.float64)))


def open_grounding_dino(pictures):
    """Matches and unweighted losses of each stage, phrase by phrase over whole arrays."""
    found, losses = [], []
    num_boxes = max(sum(len(p.boxes) for p in pictures), 1)
    for stage in range(STAGES):
        matches, sums = [], np.zeros(3)
        for p in pictures:
            prob = probabilities(p, stage)
            yes = 0.25 * (1 - prob) ** 2 * -np.log(prob + 1e-8)
            no = 0.75 * prob**2 * -np.log(1 - prob + 1e-8)
            of_phrase = np.stack([yes[:, tokens].mean(1) - no[:, tokens].mean(1) for tokens in p.phrases], axis=1)
            l1, giou = box_terms(p, stage)
            rows, columns = linear_sum_assignment(1 * of_phrase[:, p.labels] + 5 * l1 - 2 * giou)
            hot = np.zeros(prob.shape, dtype=bool)
            for query, box in zip(rows, columns, strict=True):
                hot[query, p.phrases[p.labels[box]]] = True
            right = np.where(hot, prob, 1 - prob)
            focal = np.where(hot, 0.25, 0.75) * (1 - right) ** 2 * -np.log(right)
            sums += [focal.sum(), l1[rows, columns].sum(), (1 - giou[rows, columns]).sum()]
            matches.append(set(zip(rows.tolist(), columns.tolist(), strict=True)))
        found.append(matches)
        losses.append(sums / num_boxes)
    return found, np.array(losses)


def cost_of_mm_gdino(p, row, label):
    """What it costs to give a query with these token probabilities to a box of this phrase."""
    total = 0.0
    for token, value in enumerate(row):
        if token in p.phrases[label]:
            total -= 0.25 * (1 - value) ** 2 * math.log(value + 1e-12)
        else:
            total -= 0.75 * value**2 * math.log(1 - value + 1e-12)
    return total


def mm_gdino(pictures):
    """The same by loops over single queries, boxes and tokens."""
    found, losses = [], []
    for stage in range(STAGES):
        matches, sums, matched = [], [0.0, 0.0, 0.0], 0
        for p in pictures:
            prob, (l1, giou) = probabilities(p, stage).tolist(), box_terms(p, stage)
            cost = 5 * l1 - 2 * giou
            for query, row in enumerate(prob):
                for box, label in enumerate(p.labels):
                    cost[query, box] += 2 * cost_of_mm_gdino(p, row, label)
            box_of = dict(zip(*(indices.tolist() for indices in linear_sum_assignment(cost)), strict=True))
            for query, row in enumerate(prob):
                positive = p.phrases[p.labels[box_of[query]]] if query in box_of else []
                for token, value in enumerate(row):
                    said = value if token in positive else 1 - value
                    sums[0] -= (0.25 if token in positive else 0.75) * (1 - said) ** 2 * math.log(said)
            sums[1] += sum(l1[query, box] for query, box in box_of.items())
            sums[2] += sum(1 - giou[query, box] for query, box in box_of.items())
            matched += len(box_of)
            matches.append(set(box_of.items()))
        found.append(matches)
        losses.append([each / max(matched, 1) for each in sums])
    return found, np.array(losses)


TRAINERS = {
    "Open-GroundingDino": (open_grounding_dino, "match1_loss2", "token_mean"),
    "MM-GDINO": (mm_gdino, "match2_loss1", "token_sum"),
}
WEIGHTS = {"Open-GroundingDino": (2, 5, 2), "MM-GDINO": (1, 5, 2)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("trainer", TRAINERS)
def test_matches_and_unweighted_losses_equal_the_published_trainer(trainer, seed):
    oracle, class_weights, class_cost = TRAINERS[trainer]
    pictures = draw_batch(seed)
    wanted_matches, wanted = oracle(pictures)
    criterion = SetCriterion(class_weights, class_cost=class_cost)
    logits, boxes, truths = as_tensors(pictures)
    matches = [
        [set(zip(m.queries.tolist(), m.boxes.tolist(), strict=True)) for m in stage]
        for stage in criterion.matcher(logits, boxes, truths)
    ]
    assert matches == wanted_matches
    losses = criterion(logits, boxes, truths)
    np.testing.assert_allclose(losses.stages.numpy(), wanted, rtol=1e-5)
    assert losses.total.item() == pytest.approx((wanted * WEIGHTS[trainer]).sum(), rel=1e-5)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_batch_without_any_box_is_all_background_in_the_published_trainer_too(trainer):
    oracle, class_weights, class_cost = TRAINERS[trainer]
    rng = np.random.default_rng(7)
    pictures = [draw_picture(rng, [2, 1], 0), draw_picture(rng, [3], 0)]
    stages = SetCriterion(class_weights, class_cost=class_cost)(*as_tensors(pictures)).stages
    np.testing.assert_allclose(stages.numpy(), oracle(pictures)[1], rtol=1e-5)


def test_the_two_trainers_disagree_on_these_batches():
    """Else the tests above could not tell one convention from the other."""
    assert any(open_grounding_dino(draw_batch(seed))[0] != mm_gdino(draw_batch(seed))[0] for seed in range(6))
