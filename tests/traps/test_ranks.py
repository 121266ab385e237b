"""The trap of several ranks, HF11: shown in the installed transformers first, then the same boxes are right here."""

from types import SimpleNamespace

import pytest
import torch
from ranks import on_ranks
from transformers.loss.loss_grounding_dino import GroundingDinoForObjectDetectionLoss

from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth

TOKENS = 5
PARTS = ("loss_ce", "loss_bbox", "loss_giou")
SETTINGS = SimpleNamespace(
    class_cost=2.0,
    bbox_cost=5.0,
    giou_cost=2.0,
    focal_alpha=0.25,
    bbox_loss_coefficient=5.0,
    giou_loss_coefficient=2.0,
    auxiliary_loss=False,
    two_stage=False,
)


def case() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Two pictures: one with four boxes amid the queries, one with a box in a corner."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 6, TOKENS, generator=generator)
    boxes, amid = (torch.rand(*shape, 4, generator=generator) * 0.4 + 0.2 for shape in ((2, 6), (4,)))
    return logits, boxes, [amid, torch.tensor([[0.05, 0.05, 0.02, 0.02]])]


def their_parts(logits: torch.Tensor, boxes: torch.Tensor, wanted: list[torch.Tensor]) -> list[float]:
    labels = [{"class_labels": torch.arange(len(each)), "boxes": each} for each in wanted]
    maps = (torch.eye(TOKENS, dtype=torch.long),) * len(wanted)
    seen = torch.ones_like(logits, dtype=torch.bool)
    _, parts, _ = GroundingDinoForObjectDetectionLoss(logits, labels, logits.device, boxes, SETTINGS, maps, seen)
    return [float(parts[name]) for name in PARTS]


def our_parts(logits: torch.Tensor, boxes: torch.Tensor, wanted: list[torch.Tensor]) -> list[float]:
    seen = torch.ones(TOKENS, dtype=torch.bool)
    truths = [Truth(each, torch.eye(TOKENS, dtype=torch.bool)[: len(each)], seen) for each in wanted]
    return SetCriterion()(logits[None], boxes[None], truths).stages[0].tolist()


def _rank(rank: int) -> list[list[float]]:
    logits, boxes, wanted = case()
    one = slice(rank, rank + 1)
    return [parts(logits[one], boxes[one], wanted[one]) for parts in (their_parts, our_parts)]


@pytest.mark.slow
def test_hf11_boxes_are_counted_over_all_ranks():
    """DDP averages gradients over ranks, so the mean of the ranks' losses must be the loss of one process."""
    whole = torch.tensor(our_parts(*case()))
    assert torch.allclose(whole, torch.tensor(their_parts(*case())), rtol=1e-5)
    theirs, ours = torch.tensor(on_ranks(_rank, group=True)).mean(0)
    assert ((theirs - whole).abs() > 0.05 * whole).all()
    assert torch.allclose(ours, whole, rtol=1e-5)
