import math
from dataclasses import replace

import pytest
import torch
from ranks import on_ranks

from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.denoising import DenoisedOutputs, draw_denoising
from gdino_lightning.training.matcher import Truth

TOKENS = 9
# [CLS] a a . b . c c [SEP], as three phrases
PHRASES = torch.tensor(
    [
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 0],
    ]
).bool()
WORDS = PHRASES.any(0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def truth(boxes, labels, text_mask=WORDS):
    return Truth(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), PHRASES[labels], text_mask)


def three_pictures():
    """Three boxes, none, and one."""
    return [
        truth([[0.3, 0.3, 0.2, 0.1], [0.6, 0.5, 0.3, 0.3], [0.5, 0.7, 0.1, 0.2]], [0, 1, 2]),
        truth([], []),
        truth([[0.5, 0.5, 0.4, 0.2]], [1]),
    ]


def outputs_of(denoising, layers=2, seed=3):
    """Random outputs of the extra queries."""
    pictures, queries = denoising.queries.groups.shape
    logits = torch.randn(layers, pictures, queries, TOKENS, generator=seeded(seed))
    boxes = torch.rand(layers, pictures, queries, 4, generator=seeded(seed + 1)) * 0.4 + 0.1
    return DenoisedOutputs(denoising, logits, boxes)


def score(truths, denoised, criterion=None):
    """Losses with fixed random outputs of six ordinary queries, whose own part never depends on `denoised`."""
    logits = torch.randn(3, len(truths), 6, TOKENS, generator=seeded(1))
    boxes = torch.rand(3, len(truths), 6, 4, generator=seeded(2)) * 0.4 + 0.1
    return (criterion or SetCriterion())(logits, boxes, truths, denoised)


def corners_of_many_draws(box, seed=0):
    """Corners of 2000 positive and 2000 negative queries of one box: (2000, 4) each, and the box's own (4,)."""
    denoising = draw_denoising([truth([box], [0])], [PHRASES], 2000, seeded(seed))
    cx, cy, w, h = denoising.queries.boxes[0].T
    corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    chosen = torch.zeros(len(corners), dtype=torch.bool)
    chosen[denoising.positives] = True
    cx, cy, w, h = box
    return corners[chosen], corners[~chosen], torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def test_places_of_queries_groups_and_targets_hand_computed():
    """Room for four: with two boxes at most that is two groups of two positives and two negatives."""
    truths = [truth([[0.5, 0.5, 0.2, 0.2]], [0]), truth([[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2]], [1, 2])]
    denoising = draw_denoising(truths, [PHRASES] * 2, 4, seeded(0))
    assert denoising.num_groups == 2
    assert denoising.queries.groups.tolist() == [[0, -1, 0, -1, 1, -1, 1, -1], [0, 0, 0, 0, 1, 1, 1, 1]]
    answers = zip(*(x.tolist() for x in (denoising.pictures, denoising.positives, denoising.boxes)), strict=True)
    assert set(answers) == {(0, 0, 0), (0, 4, 0), (1, 0, 0), (1, 1, 1), (1, 4, 0), (1, 5, 1)}


@pytest.mark.parametrize(("count", "groups"), [(100, 33), (6, 2), (3, 1), (1, 1)])
def test_as_many_groups_as_the_fullest_picture_leaves_room_for_and_at_least_one(count, groups):
    denoising = draw_denoising(three_pictures(), [PHRASES] * 3, count, seeded(0))
    assert denoising.num_groups == groups
    assert denoising.queries.groups.shape == (3, groups * 2 * 3)
    assert len(denoising.positives) == groups * 4  # each of the four boxes once in every group


def test_no_box_anywhere_draws_nothing():
    assert draw_denoising([truth([], [])] * 2, [PHRASES] * 2, 100, seeded(0)) is None


def test_corners_of_positives_move_by_less_than_half_a_side_and_fill_that_range():
    positives, _, own = corners_of_many_draws([0.5, 0.5, 0.2, 0.1])
    moved = (positives - own) / torch.tensor([0.2, 0.1, 0.2, 0.1])
    assert moved.abs().max() < 0.5 + 1e-5
    assert (moved.max(0).values > 0.48).all()
    assert (moved.min(0).values < -0.48).all()
    assert moved.mean(0).abs().max() < 0.03  # as often one way as the other
    assert moved.abs().mean(0).sub(0.25).abs().max() < 0.02  # uniform


def test_corners_of_negatives_move_by_half_to_a_whole_side():
    """Both corners of an axis can change places; then centre and size clip, so those queries are left out here."""
    _, negatives, own = corners_of_many_draws([0.5, 0.5, 0.2, 0.1])
    whole = negatives[((negatives[:, 2:] - negatives[:, :2]) > 2e-3).all(1)]
    assert len(whole) > 600
    moved = ((whole - own) / torch.tensor([0.2, 0.1, 0.2, 0.1])).abs()
    assert moved.min() > 0.5 - 1e-4
    assert moved.max() < 1 + 1e-4
    assert moved.min() < 0.51
    assert moved.max() > 0.99


@pytest.mark.parametrize("box", [[0.05, 0.95, 0.1, 0.1], [0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1e-4, 1e-4]])
def test_queries_stay_inside_of_the_picture_and_have_a_size(box):
    positives, negatives, _ = corners_of_many_draws(box)
    both = torch.cat([positives, negatives])
    assert both.min() > -1e-3
    assert both.max() < 1 + 1e-3
    sides = both[:, 2:] - both[:, :2]
    assert sides.min() > 0.999e-3
    assert sides.max() < 1


def test_a_quarter_of_the_labels_is_drawn_anew_from_all_phrases():
    """With three phrases a third of the new labels is right by accident: 1/4 * 2/3 are wrong, both others alike."""
    denoising = draw_denoising([truth([[0.5, 0.5, 0.2, 0.2]], [1])], [PHRASES], 4000, seeded(5))
    weights = denoising.queries.token_weights[0]
    contents = {"a a": [0, 0.5, 0.5, 0, 0, 0, 0, 0, 0], "b": [0, 0, 0, 0, 1, 0, 0, 0, 0]}
    contents["c c"] = [0, 0, 0, 0, 0, 0, 0.5, 0.5, 0]
    shares = {name: (weights == torch.tensor(row)).all(1).float().mean().item() for name, row in contents.items()}
    assert sum(shares.values()) == pytest.approx(1)  # nothing but whole phrases, each a mean of its tokens
    assert shares == pytest.approx({"a a": 1 / 12, "b": 10 / 12, "c c": 1 / 12}, abs=0.015)
    positive = weights[denoising.positives]
    flipped = (positive[:, 4] == 0).float().mean().item()
    assert flipped == pytest.approx(1 / 6, abs=0.03)  # positives and negatives alike


def test_a_label_flips_only_to_phrases_of_its_own_picture():
    truths = [truth([[0.5, 0.5, 0.2, 0.2]], [0]), truth([[0.5, 0.5, 0.2, 0.2]], [2])]
    padded = torch.cat([PHRASES[1:], torch.zeros(3, TOKENS, dtype=torch.bool)])
    denoising = draw_denoising(truths, [PHRASES[:1], padded], 400, seeded(6))
    first, second = denoising.queries.token_weights
    assert torch.equal(denoising.queries.token_weights.sum(-1), torch.ones(2, 800))  # none is a row of padding
    assert first[:, 3:].sum() == 0  # one phrase alone cannot flip
    assert second[:, :4].sum() == 0
    assert 0 < (second[:, 4] == 1).float().mean() < 0.25


def test_padding_is_in_no_group_has_no_content_and_no_answer():
    denoising = draw_denoising(three_pictures(), [PHRASES] * 3, 6, seeded(7))
    queries = denoising.queries
    padding = queries.groups == -1
    assert padding.sum(1).tolist() == [0, 12, 8]
    assert (queries.token_weights[padding] == 0).all()
    assert queries.token_weights[~padding].sum(-1).allclose(torch.ones(()))
    assert (queries.groups[denoising.pictures, denoising.positives] >= 0).all()
    assert torch.isfinite(torch.logit(queries.boxes)).all()


def test_a_generator_decides_all_and_is_the_only_one_touched():
    before = torch.get_rng_state()
    first, again, other = (draw_denoising(three_pictures(), [PHRASES] * 3, 20, seeded(seed)) for seed in (8, 8, 9))
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("token_weights", "boxes", "groups"):
        assert torch.equal(getattr(first.queries, name), getattr(again.queries, name))
    assert not torch.equal(first.queries.boxes, other.queries.boxes)
    assert not torch.equal(first.queries.token_weights, other.queries.token_weights)


def test_without_a_generator_the_global_seed_decides():
    drawn = []
    for _ in range(2):
        torch.manual_seed(10)
        drawn.append(draw_denoising(three_pictures(), [PHRASES] * 3, 20).queries.boxes)
    assert torch.equal(*drawn)


def test_loss_of_one_box_hand_computed():
    """One layer; the positive query is .1 off the box, the negative one anywhere; both say .5 for their two words."""
    text_mask = torch.tensor([0, 1, 0, 0, 1, 0, 0, 0, 0]).bool()
    box = truth([[0.6, 0.5, 0.2, 0.2]], [1], text_mask)
    denoising = draw_denoising([box], [PHRASES], 1, seeded(0))
    logits = torch.full((1, 1, 2, TOKENS), -torch.inf)
    logits[..., text_mask] = 0
    boxes = torch.tensor([[[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]]])
    dn = score([box], DenoisedOutputs(denoising, logits, boxes)).parts["dn"].item()
    focal = (0.25 + 3 * 0.75) * 0.5**2 * math.log(2)  # the phrase's word once, all else is to be denied
    assert dn == pytest.approx(focal + 5 * 0.1 + 2 * (1 - 0.02 / 0.06), abs=1e-5)


def giou(a, b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = ((x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a, b))
    common = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - common
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return common / union - (hull - union) / hull


def loss_by_loops(truths, denoised, class_weight):
    """DINO's denoising loss: every layer and every query that is no padding, divided by boxes times groups."""
    most = max(len(each.boxes) for each in truths)
    groups = denoised.denoising.num_groups
    total = 0.0
    for logits, boxes in zip(denoised.logits.tolist(), denoised.boxes.tolist(), strict=True):
        for b, each in enumerate(truths):
            for group in range(groups):
                for n in range(len(each.boxes)):
                    positive = group * 2 * most + n
                    for query, is_positive in ((positive, True), (positive + most, False)):
                        for token in range(TOKENS):
                            if each.text_mask[token]:
                                p = 1 / (1 + math.exp(-logits[b][query][token]))
                                if is_positive and each.token_map[n, token]:
                                    total -= class_weight * 0.25 * (1 - p) ** 2 * math.log(p)
                                else:
                                    total -= class_weight * 0.75 * p**2 * math.log(1 - p)
                    got, wanted = boxes[b][positive], each.boxes[n].tolist()
                    total += 5 * sum(abs(x - y) for x, y in zip(got, wanted, strict=True))
                    total += 2 * (1 - giou(got, wanted))
    return total / (groups * sum(len(each.boxes) for each in truths))


@pytest.mark.parametrize(("class_weights", "class_weight"), [("match2_loss1", 1), ("match1_loss2", 2)])
def test_loss_equals_a_plain_loop_and_leaves_the_stages_alone(class_weights, class_weight):
    truths = three_pictures()
    denoised = outputs_of(draw_denoising(truths, [PHRASES] * 3, 6, seeded(11)))
    criterion = SetCriterion(class_weights)
    with_it, without = score(truths, denoised, criterion), score(truths, None, criterion)
    assert with_it.parts["dn"].item() == pytest.approx(loss_by_loops(truths, denoised, class_weight), rel=1e-5)
    assert torch.equal(with_it.stages, without.stages)
    assert set(without.parts) == {"ce", "bbox", "giou"}
    assert all(torch.equal(with_it.parts[name], value) for name, value in without.parts.items())
    assert sum(v.item() for v in with_it.parts.values()) == pytest.approx(with_it.total.item(), rel=1e-6)
    assert without.total.item() == pytest.approx(with_it.total.item() - with_it.parts["dn"].item(), rel=1e-5)


@pytest.mark.parametrize("value", [5.0, float("nan"), -float("inf")])
def test_outputs_of_padding_and_of_tokens_that_do_not_count_change_neither_loss_nor_gradient(value):
    truths = three_pictures()
    denoised = outputs_of(draw_denoising(truths, [PHRASES] * 3, 6, seeded(12)))
    padding = denoised.denoising.queries.groups < 0
    hidden = (padding[..., None] | ~WORDS).expand_as(denoised.logits)
    logits = denoised.logits.masked_fill(hidden, value).requires_grad_()
    boxes = denoised.boxes.masked_fill(padding[..., None], value).requires_grad_()
    losses = score(truths, replace(denoised, logits=logits, boxes=boxes))
    assert torch.equal(losses.parts["dn"], score(truths, denoised).parts["dn"])
    losses.total.backward()
    assert (logits.grad[hidden] == 0).all()
    assert (boxes.grad[padding.expand(2, -1, -1)] == 0).all()


def test_gradient_reaches_words_of_positives_and_negatives_and_boxes_of_positives_only():
    truths = three_pictures()
    denoising = draw_denoising(truths, [PHRASES] * 3, 6, seeded(13))
    random = outputs_of(denoising)
    denoised = replace(random, logits=random.logits.requires_grad_(), boxes=random.boxes.requires_grad_())
    score(truths, denoised).total.backward()
    real = denoising.queries.groups >= 0
    positive = torch.zeros_like(real)
    positive[denoising.pictures, denoising.positives] = True
    words = denoised.logits.grad[..., WORDS]
    assert (words[:, real] != 0).all()
    assert (words[:, real & ~positive] > 0).all()  # a negative is pushed down at every word
    assert ((words[:, positive] < 0).sum(-1) >= 1).all()  # a positive is pulled up at its phrase
    assert (denoised.boxes.grad[:, positive] != 0).any(-1).all()
    assert (denoised.boxes.grad[:, ~positive] == 0).all()


def test_the_positive_answers_for_its_true_phrase_even_where_it_was_given_another():
    """A perfect answer costs nothing, whatever the query was told."""
    truths = [truth([[0.5, 0.5, 0.2, 0.2]], [0])]
    denoising = draw_denoising(truths, [PHRASES], 40, seeded(14))
    told = denoising.queries.token_weights[0, denoising.positives]
    assert (told[:, 1] == 0).any()
    logits = torch.full((1, 1, 80, TOKENS), -30.0)
    logits[0, 0, denoising.positives] = PHRASES[0] * 60.0 - 30
    boxes = torch.full((1, 1, 80, 4), 0.3)
    boxes[0, 0, denoising.positives] = truths[0].boxes
    assert score(truths, DenoisedOutputs(denoising, logits, boxes)).parts["dn"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("bad", ["logits", "boxes"])
def test_non_finite_outputs_of_real_queries_are_refused(bad):
    truths = three_pictures()
    denoised = outputs_of(draw_denoising(truths, [PHRASES] * 3, 6, seeded(15)))
    getattr(denoised, bad)[1, 0, 4, 1] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        score(truths, denoised)


def test_loss_is_float32_under_autocast():
    truths = three_pictures()
    random = outputs_of(draw_denoising(truths, [PHRASES] * 3, 6, seeded(16)))
    denoised = replace(random, logits=random.logits.bfloat16(), boxes=random.boxes.bfloat16())
    wanted = score(truths, denoised).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = score(truths, denoised).total
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)


def test_through_the_model_the_own_queries_score_the_same_with_and_without_denoising(detector, prompt):
    """One picture of the two is padded with extra queries; all that reaches the loss is finite."""
    pixels = torch.randn(2, 3, 64, 96, generator=seeded(18))
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    boxes = torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]])
    tokens = torch.ones(prompt.phrase_map.shape[1], dtype=torch.bool)
    truths = [Truth(boxes, prompt.phrase_map[:2], tokens), Truth(boxes[:1], prompt.phrase_map[2:], tokens)]
    denoising = draw_denoising(truths, [prompt.phrase_map] * 2, 10, seeded(19))
    outputs = detector(pixels, mask, prompt, denoising.queries)
    denoised = DenoisedOutputs(denoising, outputs.extra_logits, outputs.extra_boxes)
    losses = SetCriterion()(outputs.logits, outputs.boxes, truths, denoised)
    plain = detector(pixels, mask, prompt)
    assert torch.allclose(losses.stages, SetCriterion()(plain.logits, plain.boxes, truths).stages, rtol=1e-4)
    losses.total.backward()
    assert losses.parts["dn"] > 0
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def _shares():
    """What each of three ranks sees: two boxes, one box with other groups, and a picture without any."""
    return [three_pictures()[:1], three_pictures()[2:], three_pictures()[1:2]]


def _score_share(rank):
    truths = _shares()[rank]
    denoising = draw_denoising(truths, [PHRASES], 6, seeded(17))
    return score(truths, None if denoising is None else outputs_of(denoising)), denoising


def _rank(rank):
    losses, _ = _score_share(rank)
    return losses.parts.get("dn", torch.zeros(())).item()


@pytest.mark.slow
def test_ranks_divide_by_the_boxes_times_groups_of_all_ranks_and_one_without_boxes_keeps_step():
    """Each rank alone divides by its own; together they must give what one sum over all queries gives."""
    alone = [_score_share(rank) for rank in range(3)]
    counts = [0 if denoising is None else len(denoising.positives) for _, denoising in alone]
    assert counts == [2 * 3, 6 * 1, 0]
    wanted = sum(losses.parts["dn"].item() * n for (losses, _), n in zip(alone, counts, strict=True) if n) / sum(counts)
    got = sum(on_ranks(_rank, ranks=3, group=True)) / 3  # DDP averages gradients
    assert got == pytest.approx(wanted, rel=1e-5)
