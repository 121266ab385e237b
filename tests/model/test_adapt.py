import pytest
import torch
from pictures import pictures

from gdino_lightning.errors import ConfigError
from gdino_lightning.model.adapt import freeze, hold_frozen, is_unused, part_of, select, set_drop_path, set_dropout
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import build_prompt

NAMES = [name for name, _ in random_nano().named_parameters()]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.backbone.conv_encoder.model.swin.embeddings.norm.weight", "backbone"),
        ("model.text_backbone.embeddings.word_embeddings.weight", "text_encoder"),
        ("model.text_projection.weight", "projections"),
        ("model.level_embed", "projections"),
        ("model.enc_output.weight", "query_selection"),
        ("model.reference_points.weight", "query_selection"),
        ("model.decoder.layers.0.fc1.weight", "decoder"),
        ("model.decoder.reference_points_head.layers.0.weight", "decoder"),
        ("model.decoder.bbox_embed.0.layers.0.weight", "heads"),
        ("class_embed.3.bias", "heads"),
    ],
)
def test_parts_by_name(name, part):
    assert part_of(name) == part


def test_a_name_that_transformers_may_invent_is_not_put_anywhere():
    with pytest.raises(ValueError, match="belongs to no part"):
        part_of("model.something_new.weight")


@pytest.mark.parametrize(
    ("selector", "beginnings"),
    [
        ("encoder", ["model.encoder."]),
        ("encoder.layers.1", ["model.encoder.layers.1."]),
        ("decoder.layers.0-1", ["model.decoder.layers.0.", "model.decoder.layers.1."]),
        ("text_encoder.layers.1", ["model.text_backbone.encoder.layer.1."]),
        ("text_encoder.embeddings", ["model.text_backbone.embeddings."]),
        ("backbone.embeddings", ["model.backbone.conv_encoder.model.swin.embeddings."]),
        ("backbone.layers.3", ["model.backbone.conv_encoder.model.swin.encoder.layers.3."]),
    ],
)
def test_a_name_means_the_weights_of_its_modules(selector, beginnings):
    assert select(NAMES, selector, "freeze") == {name for name in NAMES if name.startswith(tuple(beginnings))}


@pytest.mark.parametrize(
    "selector",
    [
        "encodr",
        "",
        "encoder.",
        "encoder.layers.2",
        "encoder.layers.1-2",
        "decoder.layers.1-0",
        "heads.layers.0",
        "encoder.embeddings",
        "decoder.layers.x",
    ],
)
def test_what_is_not_there_is_named_with_what_is(selector):
    with pytest.raises(ConfigError) as caught:
        select(NAMES, selector, "freeze")
    message = str(caught.value)
    assert message.startswith("model.freeze: ")
    assert repr(selector) in message
    assert "backbone (backbone.layers.0-3)" in message
    assert "heads" in message


def test_frozen_weights_are_those_named_and_the_others_learn():
    model = random_nano()
    freeze(model, ["text_encoder", "decoder.layers.0"])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    never_read = {name for name in NAMES if ".swin.layernorm." in name}
    named = {name for name in NAMES if name.startswith(("model.text_backbone.", "model.decoder.layers.0."))}
    assert frozen == named | never_read


def test_freezing_everything_is_refused():
    parts = ["backbone", "text_encoder", "projections", "encoder", "query_selection", "decoder", "heads"]
    with pytest.raises(ConfigError, match="nothing would learn"):
        freeze(random_nano(), parts)


def test_what_is_frozen_is_in_evaluation_mode_and_the_rest_is_not():
    model = random_nano()
    freeze(model, ["text_encoder", "decoder.layers.0"])
    hold_frozen(model.train())
    core = model.model
    assert not any(module.training for module in core.text_backbone.modules())
    assert not any(module.training for module in core.decoder.layers[0].modules())
    assert all(module.training for module in core.decoder.layers[1].modules())
    assert core.decoder.training
    assert core.encoder.training


def test_dropout_is_set_in_every_layer():
    model = random_nano()
    set_dropout(model, 0.25)
    layers = [*model.model.encoder.layers, *model.model.decoder.layers]
    assert {layer.dropout for layer in model.model.decoder.layers} == {0.25}
    assert {layer.deformable_layer.dropout for layer in model.model.encoder.layers} == {0.25}
    assert len(layers) == 5
    assert model.config.dropout == 0.25


def test_drop_path_rises_over_the_blocks_and_is_one_rate_in_fusion():
    model = random_nano()
    set_drop_path(model, 0.3)
    stages = model.model.backbone.conv_encoder.model.swin.encoder.layers
    rates = [block.drop_path.drop_prob for stage in stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    assert [layer.fusion_layer.drop_path.drop_prob for layer in model.model.encoder.layers] == [0.3, 0.3]


def test_drop_path_survives_in_the_configuration():
    model = random_nano()
    set_drop_path(model, 0.3)
    rebuilt = type(model)(type(model.config).from_dict(model.config.to_dict()))
    stages = rebuilt.model.backbone.conv_encoder.model.swin.encoder.layers
    assert stages[3].blocks[0].drop_path.drop_prob == pytest.approx(0.3)
    assert rebuilt.model.encoder.layers[0].fusion_layer.drop_path.drop_prob == pytest.approx(0.3)


def test_drop_path_changes_outputs_in_training_only(detector, prompt):
    pixels, mask = pictures(batch=2)
    before = detector.eval()(pixels, mask, prompt)
    set_drop_path(detector.model, 0.6)
    detector.eval()
    assert torch.equal(detector(pixels, mask, prompt).boxes, before.boxes)
    detector.train()
    first, second = detector(pixels, mask, prompt), detector(pixels, mask, prompt)
    assert not torch.allclose(first.boxes, second.boxes)
    set_drop_path(detector.model, 0.0)
    detector.train()
    assert torch.equal(detector(pixels, mask, prompt).boxes, detector(pixels, mask, prompt).boxes)


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
