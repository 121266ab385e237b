import math

import pytest
import torch
from ranks import on_ranks

from gdino_lightning.model.adapt import is_unused
from gdino_lightning.training.criterion import SetCriterion, join_losses, token_focal_loss
from gdino_lightning.training.matcher import Truth


def truth(boxes, rows, tokens=4):
    token_map = torch.zeros(len(boxes), tokens, dtype=torch.bool)
    for i, columns in enumerate(rows):
        token_map[i, columns] = True
    return Truth(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), token_map, torch.ones(tokens).bool())


def random_case(generator, stages=3, batch=2, queries=6, tokens=4):
    logits = torch.randn(stages, batch, queries, tokens, generator=generator)
    boxes = torch.rand(stages, batch, queries, 4, generator=generator) * 0.4 + 0.1
    truths = [
        Truth(
            torch.rand(n, 4, generator=generator) * 0.4 + 0.2,
            torch.eye(tokens, dtype=torch.bool)[:n],
            torch.ones(tokens, dtype=torch.bool),
        )
        for n in (3, 1)
    ]
    return logits, boxes, truths


def test_one_box_hand_computed():
    """Query 0 sits .1 beside the box and says .5 for both tokens; query 1 is background with .25."""
    logits = torch.tensor([[[[0.0, 0.0], [math.log(1 / 3), math.log(1 / 3)]]]])
    boxes = torch.tensor([[[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]]])
    losses = SetCriterion()(logits, boxes, [truth([[0.6, 0.5, 0.2, 0.2]], [[0]], tokens=2)])
    focal = 0.25 * 0.5**2 * math.log(2) + 0.75 * 0.5**2 * math.log(2) + 2 * 0.75 * 0.25**2 * -math.log(0.75)
    assert losses.stages[0].tolist() == pytest.approx([focal, 0.1, 1 - 0.02 / 0.06], abs=1e-5)
    assert losses.total.item() == pytest.approx(focal + 5 * 0.1 + 2 * (1 - 0.02 / 0.06), abs=1e-5)
    assert sum(v.item() for v in losses.parts.values()) == pytest.approx(losses.total.item(), abs=1e-5)


def test_class_weight_conventions_weigh_the_same_losses_differently():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(1), stages=1)
    # the match is beyond doubt
    truths = [Truth(boxes[0, b, :1], truths[b].token_map[:1], truths[b].text_mask) for b in range(2)]
    first = SetCriterion("match2_loss1")(logits, boxes, truths)
    second = SetCriterion("match1_loss2")(logits, boxes, truths)
    assert second.parts["ce"].item() == pytest.approx(2 * first.parts["ce"].item(), rel=1e-5)
    assert second.parts["giou"].item() == pytest.approx(first.parts["giou"].item(), abs=1e-5)


def test_class_costs_change_the_match_and_nothing_else():
    """Query 0 says yes to both words, query 1 to the right one only; both sit on the box."""
    logits = torch.tensor([[[[3.0, 3.0], [2.5, -3.0]]]])
    boxes = torch.full((1, 1, 2, 4), 0.4)
    truths = [truth([[0.4] * 4], [[0]], tokens=2)]
    for class_cost, query in (("token_mean", 0), ("token_sum", 1)):
        targets = torch.zeros(2, 2)
        targets[query, 0] = 1
        stages = SetCriterion(class_cost=class_cost)(logits, boxes, truths).stages
        assert stages[0, 0].item() == pytest.approx(token_focal_loss(logits[0, 0], targets).sum().item(), rel=1e-6)


def test_special_tokens_are_negatives_where_the_text_mask_has_them_hand_computed():
    """[CLS] word word . [SEP]; query 0 is matched, and both say .5 everywhere but .25 on the special tokens."""
    row = [math.log(1 / 3), 0.0, 0.0, math.log(1 / 3), math.log(1 / 3)]
    logits = torch.tensor([[[row, row]]])
    boxes = torch.tensor([[[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]]])
    box, token_map = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[False, True, False, False, False]])
    words = 0.25 * 0.5**2 * math.log(2) + 3 * 0.75 * 0.5**2 * math.log(2)  # one positive, three negatives
    specials = 6 * 0.75 * 0.25**2 * -math.log(0.75)
    for mask, wanted in (([1, 1, 1, 1, 1], words + specials), ([0, 1, 1, 0, 0], words)):
        stages = SetCriterion()(logits, boxes, [Truth(box, token_map, torch.tensor(mask).bool())]).stages
        assert stages[0].tolist() == pytest.approx([wanted, 0, 0], abs=1e-6)


@pytest.mark.parametrize("class_cost", ["token_mean", "token_sum"])
def test_a_padded_batch_of_different_prompts_equals_its_pictures_alone(class_cost):
    """Padding is -inf in logits, as the model gives it; it has no loss and a gradient of exactly zero."""
    generator = torch.Generator().manual_seed(8)
    lengths, counts = (4, 9, 6), (3, 0, 5)
    logits = torch.randn(2, 3, 7, 9, generator=generator)
    boxes = torch.rand(2, 3, 7, 4, generator=generator) * 0.4 + 0.1
    truths, alone = [], []
    for b, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        logits[:, b, :, length:] = -torch.inf
        token_map = torch.zeros(count, 9, dtype=torch.bool)
        token_map[torch.arange(count), torch.arange(count) % length] = True
        text_mask = torch.arange(9) < length
        truths.append(Truth(torch.rand(count, 4, generator=generator) * 0.4 + 0.2, token_map, text_mask))
        alone.append(Truth(truths[b].boxes, token_map[:, :length], text_mask[:length]))
    logits.requires_grad_()
    criterion = SetCriterion(class_cost=class_cost)
    losses = criterion(logits, boxes, truths)
    (gradient,) = torch.autograd.grad(losses.total, logits)
    summed, pieces = 0, torch.zeros_like(logits)
    for b, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        piece = logits[:, b : b + 1, :, :length].detach().requires_grad_()
        single = criterion(piece, boxes[:, b : b + 1], alone[b : b + 1])
        summed = summed + single.stages * max(count, 1)
        pieces[:, b : b + 1, :, :length] = torch.autograd.grad(single.total, piece)[0] * max(count, 1)
    assert torch.allclose(losses.stages * sum(counts), summed, rtol=1e-5)
    assert torch.allclose(gradient * sum(counts), pieces, rtol=1e-4, atol=1e-7)
    padding = ~torch.stack([each.text_mask for each in truths])[None, :, None].expand_as(logits)
    assert (gradient[padding] == 0).all()
    assert (gradient[~padding] != 0).all()


def test_order_of_targets_changes_nothing():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(2))
    shuffled = [Truth(t.boxes.flip(0), t.token_map.flip(0), t.text_mask) for t in truths]
    assert torch.allclose(SetCriterion()(logits, boxes, truths).stages, SetCriterion()(logits, boxes, shuffled).stages)


def test_two_pictures_sum_to_each_alone():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(3))
    both = SetCriterion()(logits, boxes, truths).stages * 4
    alone = [SetCriterion()(logits[:, b : b + 1], boxes[:, b : b + 1], truths[b : b + 1]).stages for b in range(2)]
    assert torch.allclose(both, alone[0] * 3 + alone[1] * 1, rtol=1e-5)


def test_prompts_that_ask_for_parts_of_the_boxes_add_up_to_all_of_them():
    """Two words, each in a prompt of its own with its own box: normalised by both boxes, the losses join."""
    generator = torch.Generator().manual_seed(9)
    logits = torch.full((1, 1, 2, 2), -2.0) + torch.eye(2) * 5  # query 0 says the first word, query 1 the second
    boxes = torch.rand(1, 1, 2, 4, generator=generator) * 0.4 + 0.1
    wanted = (boxes[0, 0] + 0.01).tolist()
    whole = SetCriterion()(logits, boxes, [truth(wanted, [[0], [1]], tokens=2)])
    parts = [
        SetCriterion()(logits[..., [i]], boxes, [truth(wanted[i : i + 1], [[0]], tokens=1)], num_boxes=2)
        for i in range(2)
    ]
    joined = join_losses(parts)
    assert torch.allclose(joined.stages, whole.stages, rtol=1e-5)
    assert joined.total.item() == pytest.approx(whole.total.item(), rel=1e-5)
    assert {name: value.item() for name, value in joined.parts.items()} == pytest.approx(
        {name: value.item() for name, value in whole.parts.items()}, rel=1e-5
    )


def test_summed_loss_of_two_pictures_through_the_model_equals_each_alone(detector, prompt):
    """Two pictures of one canvas, one of them padded: neither forward nor loss may mix them."""
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1, 50:] = False
    pixels = pixels * mask[:, None]
    tokens = torch.ones(prompt.phrase_map.shape[1], dtype=torch.bool)
    truths = [
        Truth(torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]]), prompt.phrase_map[:2], tokens),
        Truth(torch.tensor([[0.5, 0.5, 0.4, 0.4]]), prompt.phrase_map[2:], tokens),
    ]

    def summed(chosen: slice) -> torch.Tensor:
        outputs = detector(pixels[chosen], mask[chosen], prompt)
        boxes = sum(len(each.boxes) for each in truths[chosen])
        return SetCriterion()(outputs.logits, outputs.boxes, truths[chosen]).total * boxes

    alone = summed(slice(0, 1)) + summed(slice(1, 2))
    assert summed(slice(0, 2)).item() == pytest.approx(alone.item(), rel=1e-5)


def test_a_batch_without_boxes_has_finite_gradients():
    logits = torch.randn(2, 2, 5, 4, requires_grad=True)
    boxes = torch.rand(2, 2, 5, 4, requires_grad=True)
    losses = SetCriterion()(logits, boxes, [truth([], [])] * 2)
    losses.total.backward()
    assert losses.parts["bbox"] == losses.parts["giou"] == 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad > 0).all()  # everything is background and pushed down


@pytest.mark.parametrize("truths", [[truth([], [])], [truth([[0.5, 0.5, 0.2, 0.2]], [[0]])]])
@pytest.mark.parametrize("bad", ["logits", "boxes"])
def test_non_finite_outputs_are_refused_with_and_without_boxes(truths, bad):
    outputs = {"logits": torch.zeros(2, 1, 5, 4), "boxes": torch.full((2, 1, 5, 4), 0.4)}
    outputs[bad][1, 0, 2, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        SetCriterion()(outputs["logits"], outputs["boxes"], truths)


def test_losses_are_float32_under_autocast():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(4))
    wanted = SetCriterion()(logits.bfloat16(), boxes.bfloat16(), truths).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = SetCriterion()(logits.bfloat16(), boxes.bfloat16(), truths).total
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)


def test_focal_loss_gradient_agrees_with_finite_differences():
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 0, 1, 1, 0, 0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: token_focal_loss(x, targets), (logits,))


def test_every_parameter_learns_but_the_norm_nobody_reads(detector, prompt):
    detector.train()
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    outputs = detector(pixels, torch.ones(2, 64, 96, dtype=torch.bool), prompt)
    tokens = torch.ones(prompt.phrase_map.shape[1], dtype=torch.bool)
    targets = Truth(torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]]), prompt.phrase_map[:2], tokens)
    SetCriterion()(outputs.logits, outputs.boxes, [targets] * 2).total.backward()
    silent = {name for name, p in detector.model.named_parameters() if p.grad is None}
    assert silent == {name for name, _ in detector.model.named_parameters() if is_unused(name)}
    assert {name.rsplit(".", 1)[0] for name in silent} == {"model.backbone.conv_encoder.model.swin.layernorm"}
    still = {n for n, p in detector.model.named_parameters() if p.grad is not None and not p.grad.abs().any()}
    assert still == set()


def _rank(rank: int) -> list[list[float]]:
    logits, boxes, truths = random_case(torch.Generator().manual_seed(6))
    one = slice(rank, rank + 1)
    losses = SetCriterion()(logits[:, one], boxes[:, one], truths[one])
    return losses.stages.tolist()


def test_two_processes_with_uneven_boxes_average_to_one_process():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(6))
    wanted = SetCriterion()(logits, boxes, truths).stages
    got = torch.tensor(on_ranks(_rank, group=True)).mean(0)  # DDP averages gradients
    assert torch.allclose(got, wanted, rtol=1e-5)
