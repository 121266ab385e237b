import math

import pytest
import torch

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.nano import random_nano
from gdino_lightning.training.optimizer import build_optimizer, parameter_groups, refresh_groups, schedule_factor

MULTIPLIERS = {"backbone": 0.1, "text_encoder": 0.5}


def groups_of(model, multipliers=MULTIPLIERS):
    return {group["name"]: group for group in parameter_groups(model, 1e-3, multipliers, weight_decay=0.01)}


def test_groups_hold_every_trained_parameter_once():
    model = random_nano()
    for parameter in list(model.parameters())[::3]:
        parameter.requires_grad_(False)
    grouped = [p for group in groups_of(model).values() for _, p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}


def test_rates_follow_the_part_and_vectors_do_not_decay():
    groups = groups_of(random_nano())
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {
        "backbone": (pytest.approx(1e-4), 0.01),
        "backbone-no-decay": (pytest.approx(1e-4), 0.0),
        "other": (1e-3, 0.01),
        "other-no-decay": (1e-3, 0.0),
        "text_encoder": (5e-4, 0.01),
        "text_encoder-no-decay": (5e-4, 0.0),
    }
    for name, group in groups.items():
        assert all((p.ndim < 2) == ("no-decay" in name) for _, p in group["params"])


def test_each_weight_has_the_rate_of_the_last_multiplier_that_names_it():
    groups = groups_of(
        random_nano(), {"decoder": 0.5, "decoder.layers.1-2": 0.25, "heads": 2.0, "decoder.layers.2": 3.0}
    )
    rates = {name: group["lr"] / 1e-3 for group in groups.values() for name, _ in group["params"]}
    assert rates["model.decoder.layer_norm.weight"] == pytest.approx(0.5)
    assert rates["model.decoder.layers.0.fc1.weight"] == pytest.approx(0.5)
    assert rates["model.decoder.layers.1.fc1.bias"] == pytest.approx(0.25)
    assert rates["model.decoder.layers.2.fc1.weight"] == pytest.approx(3.0)
    assert rates["model.decoder.bbox_embed.0.layers.0.weight"] == pytest.approx(2.0)
    assert rates["model.enc_output.weight"] == pytest.approx(1.0)


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
        group["param_names"] = [name for name, _ in group["params"]]
    return groups


def test_saved_groups_take_new_settings_where_they_stand_in_the_schedule():
    model = random_nano()
    saved = saved_groups(model)
    wanted = parameter_groups(model, 2e-3, {"backbone": 0.3, "text_encoder": 0.5}, weight_decay=0.5)
    full = refresh_groups(saved, wanted, fused=False)
    assert full == pytest.approx([6e-4, 6e-4, 2e-3, 2e-3, 1e-3, 1e-3])
    assert [group["lr"] for group in saved] == pytest.approx([rate * 0.2 for rate in full])
    assert [group["initial_lr"] for group in saved] == full
    assert [group["weight_decay"] for group in saved] == [0.5, 0.0] * 3
    assert {group["fused"] for group in saved} == {None}


@pytest.mark.parametrize("still", ["model.text_backbone.", "model.decoder.layers.1."])
def test_other_learning_weights_than_saved_are_refused(still):
    """Another part, and another layer of a part: then the groups have the names and sizes that they had."""
    then, now = random_nano(), random_nano()
    for model, frozen in ((then, "model.decoder.layers.0."), (now, still)):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(frozen))
    with pytest.raises(CheckpointError, match=r"trained other weights: backbone.*now backbone"):
        refresh_groups(saved_groups(then), list(groups_of(now).values()), fused=False)
