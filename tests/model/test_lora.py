import sys

import pytest
import torch
from peft.tuners.lora import LoraLayer
from pictures import pictures
from torch import nn

from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.lora import add_lora, merge_state, read_adapter, save_adapter
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.pretrained import load_pretrained

LORA = {"rank": 4, "alpha": 12, "layers": ["encoder.layers.0", "decoder", "text_encoder"]}


def adapted(model, lora=LORA):
    """A model whose adapters have learned something."""
    add_lora(model, lora)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def adapters_of(model) -> dict[str, LoraLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def assert_equal_outputs(found, expected):
    """To 1e-5 of the largest finite value."""
    assert (found.boxes - expected.boxes).abs().max() <= 1e-5
    finite = torch.isfinite(expected.logits)
    largest = expected.logits[finite].abs().max()
    assert (found.logits[finite] - expected.logits[finite]).abs().max() <= 1e-5 * largest


def test_new_adapters_change_no_output_and_learn_alone(detector, prompt):
    pixels, mask = pictures(batch=1)
    before = detector(pixels, mask, prompt)
    add_lora(detector.model, LORA)
    after = detector.eval()(pixels, mask, prompt)
    assert_equal_outputs(after, before)
    learned = {name for name, parameter in detector.model.named_parameters() if parameter.requires_grad}
    assert learned
    assert all(".lora_A." in name or ".lora_B." in name for name in learned)


def test_every_linear_layer_of_the_named_parts_gets_an_adapter_of_the_rank_and_no_other():
    model = random_nano()
    parts = ("model.encoder.layers.0.", "model.decoder.layers.", "model.decoder.reference_points_head.")
    parts = (*parts, "model.text_backbone.")
    wanted = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(parts)}
    sizes = {name: (module.in_features, module.out_features) for name, module in wanted.items()}
    add_lora(model, LORA)
    found = adapters_of(model)
    assert found.keys() == wanted.keys()
    for name, layer in found.items():
        assert layer.lora_A["default"].weight.shape == (4, sizes[name][0])
        assert layer.lora_B["default"].weight.shape == (sizes[name][1], 4)


def test_layers_that_a_switch_leaves_out_get_none():
    model = random_nano()
    add_lora(model, {"rank": 2, "layers": ["encoder"]}, Switches(fusion=False))
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learned
    assert not any("fusion_layer" in name for name in learned)


def test_merged_weights_have_plain_names_and_give_equal_outputs(detector, prompt):
    names = list(detector.model.state_dict())
    adapted(detector.model)
    pixels, mask = pictures(batch=2)
    expected = detector.eval()(pixels, mask, prompt)
    merged = merge_state(detector.model.state_dict(), LORA)
    assert list(merged) == names
    plain = random_nano()
    plain.load_state_dict(merged)
    found = GroundingDetector(plain).eval()(pixels, mask, prompt)
    assert_equal_outputs(found, expected)


def test_merged_weights_are_those_that_peft_merges():
    model = adapted(random_nano())
    merged = merge_state(model.state_dict(), LORA)
    layers = adapters_of(model)
    for layer in layers.values():
        layer.merge()
    before = random_nano().state_dict()
    by_peft = {n.replace(".base_layer.", "."): t for n, t in model.state_dict().items() if ".lora_" not in n}
    assert merged.keys() == by_peft.keys()
    for name, tensor in by_peft.items():
        assert torch.allclose(merged[name], tensor, atol=1e-7), name
    moved = {name.removesuffix(".weight") for name, tensor in merged.items() if not torch.equal(tensor, before[name])}
    assert moved == layers.keys()


def test_an_adapter_file_is_small_and_gives_the_same_weights(tmp_path):
    lora = {"rank": 2}
    model = adapted(random_nano(), lora)
    path = tmp_path / "epoch-03.adapter.safetensors"
    save_adapter(model.state_dict(), lora, "nano-random", path)
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert path.stat().st_size < 4 * learned + 50_000
    loaded = load_pretrained(path).model.state_dict()
    expected = merge_state(model.state_dict(), lora)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_an_adapter_of_other_weights_is_refused(tmp_path):
    path = tmp_path / "x.adapter.safetensors"
    names = ("model.nowhere.lora_A.default.weight", "model.nowhere.lora_B.default.weight")
    save_adapter(dict(zip(names, (torch.ones(1, 2), torch.ones(2, 1)), strict=True)), {"rank": 1}, "nano-random", path)
    with pytest.raises(CheckpointError, match=r"x\.adapter\.safetensors: does not fit nano-random"):
        load_pretrained(path)


@pytest.mark.parametrize(("content", "says"), [(None, "no such adapter"), (b"", "damaged"), (b"12345678{}", "damaged")])
def test_a_file_that_is_no_adapter_is_refused(tmp_path, content, says):
    path = tmp_path / "x.adapter.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        read_adapter(path)


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"rank": 0}, "lora.rank is 0"),
        ({"rank": 4, "alpha": -1}, "lora.alpha is -1"),
        ({"rank": 4, "layers": ["decodr"]}, "lora.layers: there is no part 'decodr'"),
        ({"rank": 4, "layers": ["heads"]}, "heads"),
        ({"rank": 4, "layers": ["text_encoder.embeddings"]}, "no linear layer"),
    ],
)
def test_settings_that_cannot_be_used_are_named(lora, says):
    with pytest.raises(ConfigError, match=says):
        add_lora(random_nano(), lora)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"gdino-lightning\[lora\]"):
        add_lora(random_nano(), LORA)
