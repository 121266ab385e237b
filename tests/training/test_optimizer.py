import math

import pytest
import torch
from pictures import pictures

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt
from gdino_lightning.training.optimizer import (
    build_optimizer,
    is_unused,
    parameter_groups,
    part_of,
    refresh_groups,
    schedule_factor,
)


def groups_of(model):
    return {
        group["name"]: group
        for group in parameter_groups(model, 1e-3, {"backbone": 0.1, "text": 0.5, "head": 1.0}, weight_decay=0.01)
    }


def test_groups_hold_every_trained_parameter_once():
    model = random_nano()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_unused(name))
    grouped = [p for group in groups_of(model).values() for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}


def test_rates_follow_the_part_and_vectors_do_not_decay():
    groups = groups_of(random_nano())
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {
        "backbone": (pytest.approx(1e-4), 0.01),
        "backbone-no-decay": (pytest.approx(1e-4), 0.0),
        "head": (1e-3, 0.01),
        "head-no-decay": (1e-3, 0.0),
        "text": (5e-4, 0.01),
        "text-no-decay": (5e-4, 0.0),
    }
    assert all(p.ndim < 2 for name, group in groups.items() if "no-decay" in name for p in group["params"])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.backbone.conv_encoder.model.swin.embeddings.norm.weight", "backbone"),
        ("model.text_backbone.embeddings.word_embeddings.weight", "text"),
        ("model.text_projection.weight", "head"),
        ("bbox_embed.0.layers.0.weight", "head"),
    ],
)
def test_parts_by_name(name, part):
    assert part_of(name) == part


def test_drop_schedule_hand_computed():
    factor = schedule_factor("drop", warmup_steps=3, total_steps=10)
    assert [factor(step) for step in range(10)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.1, 0.1, 0.1])


def test_cosine_starts_warm_halves_in_the_middle_and_ends_at_zero():
    factor = schedule_factor("cosine", warmup_steps=0, total_steps=100)
    assert [factor(0), factor(50), factor(100)] == pytest.approx([1, 0.5, 0])
    assert all(factor(step) >= factor(step + 1) for step in range(100))


def test_constant_and_endless_runs_never_drop():
    assert {schedule_factor("constant", 0, 10)(step) for step in range(20)} == {1.0}
    assert schedule_factor("drop", 0, math.inf)(10**6) == 1.0


@pytest.mark.parametrize(("kind", "expected"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_optimizer_kind(kind, expected):
    optimizer = build_optimizer(kind, list(groups_of(random_nano()).values()), fused=True)
    assert type(optimizer) is expected
    assert [group["name"] for group in optimizer.param_groups][:2] == ["backbone", "backbone-no-decay"]


def saved_groups(model):
    """What an optimizer leaves after a fifth of the full rate was reached."""
    groups = [dict(group, initial_lr=group["lr"], fused=True) for group in groups_of(model).values()]
    for group in groups:
        group["lr"] *= 0.2
    return groups


def test_saved_groups_take_new_settings_where_they_stand_in_the_schedule():
    model = random_nano()
    saved = saved_groups(model)
    wanted = parameter_groups(model, 2e-3, {"backbone": 0.3, "text": 0.5, "head": 1.0}, weight_decay=0.5)
    full = refresh_groups(saved, wanted, fused=False)
    assert full == pytest.approx([6e-4, 6e-4, 2e-3, 2e-3, 1e-3, 1e-3])
    assert [group["lr"] for group in saved] == pytest.approx([rate * 0.2 for rate in full])
    assert [group["initial_lr"] for group in saved] == full
    assert [group["weight_decay"] for group in saved] == [0.5, 0.0] * 3
    assert {group["fused"] for group in saved} == {None}


def test_other_learning_parts_than_saved_are_refused():
    model = random_nano()
    saved = saved_groups(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) != "text")
    with pytest.raises(CheckpointError, match=r"backbone.*text.*now backbone"):
        refresh_groups(saved, list(groups_of(model).values()), fused=False)


@pytest.mark.parametrize(("off", "parts"), [("fusion", "fusion_layer"), ("text_cross_attention", "encoder_attn_text")])
def test_what_a_switch_leaves_out_is_unused_and_all_else_learns(off, parts):
    switches = Switches(**{off: False})
    detector = GroundingDetector(random_nano(), switches)
    pixels, mask = pictures(batch=1)
    outputs = detector(pixels, mask, build_prompt(["cup", "red fish"], nano_tokenizer()))
    (outputs.logits.square().mean() + outputs.boxes.square().mean()).backward()
    silent = {name for name, parameter in detector.model.named_parameters() if parameter.grad is None}
    assert silent == {name for name, _ in detector.model.named_parameters() if is_unused(name, switches)}
    assert any(parts in name for name in silent)
