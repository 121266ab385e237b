import math

import pytest
import torch
from torch import distributed, multiprocessing

from gdino_lightning.training.criterion import SetCriterion, token_focal_loss
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.optimizer import is_unused


def truth(boxes, rows, tokens=4):
    token_map = torch.zeros(len(boxes), tokens, dtype=torch.bool)
    for i, columns in enumerate(rows):
        token_map[i, columns] = True
    return Truth(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), token_map)


def random_case(generator, stages=3, batch=2, queries=6, tokens=4):
    logits = torch.randn(stages, batch, queries, tokens, generator=generator)
    boxes = torch.rand(stages, batch, queries, 4, generator=generator) * 0.4 + 0.1
    truths = [
        Truth(torch.rand(n, 4, generator=generator) * 0.4 + 0.2, torch.eye(tokens, dtype=torch.bool)[:n])
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
    truths = [Truth(boxes[0, b, :1], truths[b].token_map[:1]) for b in range(2)]  # the match is beyond doubt
    first = SetCriterion("match2_loss1")(logits, boxes, truths)
    second = SetCriterion("match1_loss2")(logits, boxes, truths)
    assert second.parts["ce"].item() == pytest.approx(2 * first.parts["ce"].item(), rel=1e-5)
    assert second.parts["giou"].item() == pytest.approx(first.parts["giou"].item(), abs=1e-5)


def test_order_of_targets_changes_nothing():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(2))
    shuffled = [Truth(t.boxes.flip(0), t.token_map.flip(0)) for t in truths]
    assert torch.allclose(SetCriterion()(logits, boxes, truths).stages, SetCriterion()(logits, boxes, shuffled).stages)


def test_two_pictures_sum_to_each_alone():
    logits, boxes, truths = random_case(torch.Generator().manual_seed(3))
    both = SetCriterion()(logits, boxes, truths).stages * 4
    alone = [SetCriterion()(logits[:, b : b + 1], boxes[:, b : b + 1], truths[b : b + 1]).stages for b in range(2)]
    assert torch.allclose(both, alone[0] * 3 + alone[1] * 1, rtol=1e-5)


def test_summed_loss_of_two_pictures_through_the_model_equals_each_alone(detector, prompt):
    """Two pictures of one canvas, one of them padded: neither forward nor loss may mix them."""
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1, 50:] = False
    pixels = pixels * mask[:, None]
    truths = [
        Truth(torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]]), prompt.phrase_map[:2]),
        Truth(torch.tensor([[0.5, 0.5, 0.4, 0.4]]), prompt.phrase_map[2:]),
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
    targets = [Truth(torch.tensor([[0.4, 0.5, 0.2, 0.3], [0.7, 0.3, 0.1, 0.2]]), prompt.phrase_map[:2])] * 2
    SetCriterion()(outputs.logits, outputs.boxes, targets).total.backward()
    silent = {name for name, p in detector.model.named_parameters() if p.grad is None}
    assert silent == {name for name, _ in detector.model.named_parameters() if is_unused(name)}
    assert {name.rsplit(".", 1)[0] for name in silent} == {"model.backbone.conv_encoder.model.swin.layernorm"}
    still = {n for n, p in detector.model.named_parameters() if p.grad is not None and not p.grad.abs().any()}
    assert still == set()


def _rank(rank: int, port: int, results) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    logits, boxes, truths = random_case(torch.Generator().manual_seed(6))
    one = slice(rank, rank + 1)
    losses = SetCriterion()(logits[:, one], boxes[:, one], truths[one])
    results.put((rank, losses.stages.tolist()))
    distributed.destroy_process_group()


def test_two_processes_with_uneven_boxes_average_to_one_process(free_port):
    logits, boxes, truths = random_case(torch.Generator().manual_seed(6))
    wanted = SetCriterion()(logits, boxes, truths).stages
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    workers = [context.Process(target=_rank, args=(rank, free_port, results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    got = torch.stack([torch.tensor(results.get()[1]) for _ in range(2)]).mean(0)  # DDP averages gradients
    assert torch.allclose(got, wanted, rtol=1e-5)
