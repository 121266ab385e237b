"""Leaner sub-layers: the weights keep their names, and a training step its gradients."""

import copy

import pytest
import torch
from pictures import pictures
from torch import nn
from untouched import untouched

from gdino_lightning.model.deformable import DeformableAttention, DeformableLayer
from gdino_lightning.model.detector import GroundingDetector, HuggingFaceDetector, Switches
from gdino_lightning.model.fusion import FusionAttention
from gdino_lightning.model.lean import make_lean
from gdino_lightning.model.nano import nano_config, random_nano


def sublayers(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is kind]


def test_weights_keep_their_names_and_their_order() -> None:
    model = random_nano()
    names = [name for name, _ in model.named_parameters()]
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    make_lean(model)
    assert [name for name, _ in model.named_parameters()] == names
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, values[name])


def test_every_sub_layer_is_replaced_once() -> None:
    model, config = random_nano(), nano_config()
    make_lean(model)
    assert len(sublayers(model, DeformableLayer)) == config.encoder_layers
    assert len(sublayers(model, FusionAttention)) == config.encoder_layers
    assert len(sublayers(model, DeformableAttention)) == config.encoder_layers + config.decoder_layers
    before = list(model.modules())
    make_lean(model)
    assert [id(module) for module in model.modules()] == [id(module) for module in before]


def test_modes_are_kept() -> None:
    model = random_nano().eval()
    model.model.decoder.train()
    make_lean(model)
    assert not any(module.training for module in model.model.encoder.modules())
    assert all(module.training for module in model.model.decoder.modules())


def test_a_copy_runs_on_its_own_weights(prompt) -> None:
    detector = GroundingDetector(drawn(random_nano())).eval()
    copied = copy.deepcopy(detector)
    pixels, mask = pictures()
    with torch.no_grad():
        before = detector(pixels, mask, prompt).logits
        for parameter in copied.model.model.encoder.parameters():
            parameter.zero_()
        assert torch.equal(detector(pixels, mask, prompt).logits, before)
        assert not torch.equal(copied(pixels, mask, prompt).logits, before)


@torch.no_grad()
def drawn(model: HuggingFaceDetector) -> HuggingFaceDetector:
    """Move weights off their first values, where offsets and attention are the same for every query."""
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    return model


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_deformable_attention_is_transformers_own(part: str) -> None:
    """With the centres of an encoder and with the boxes of a decoder, on a picture that is partly padding."""
    plain = drawn(random_nano()).eval()
    lean = copy.deepcopy(plain)
    make_lean(lean)
    theirs, ours = (
        model.model.encoder.layers[1].deformable_layer.self_attn
        if part == "encoder"
        else model.model.decoder.layers[2].encoder_attn
        for model in (plain, lean)
    )
    rng = torch.Generator().manual_seed(2)
    shapes = [(6, 8), (3, 4), (2, 2), (1, 1)]
    tokens = sum(height * width for height, width in shapes)
    hidden, image, positions = (torch.randn(2, n, 64, generator=rng) for n in (9, tokens, 9))
    inputs = {
        "hidden_states": hidden,
        "attention_mask": torch.rand(2, tokens, generator=rng) > 0.2,
        "encoder_hidden_states": image,
        "position_embeddings": positions,
        "reference_points": torch.rand(2, 9, 4, 2 if part == "encoder" else 4, generator=rng),
        "spatial_shapes": torch.tensor(shapes),
        "spatial_shapes_list": shapes,
        "level_start_index": torch.tensor([0, 48, 60, 64]),
    }
    with torch.no_grad():
        torch.testing.assert_close(ours(**inputs)[0], theirs(**inputs)[0], rtol=1e-5, atol=1e-5)


def test_the_gradient_of_every_weight_is_that_of_transformers(prompt) -> None:
    """From the outputs of the last layer, in float64; transformers looks forward once."""
    detector = GroundingDetector(drawn(random_nano()), Switches(look_forward_twice=False)).eval().double()
    twin = untouched(detector.model)
    pixels, mask = pictures(dtype=torch.float64)
    ours = detector(pixels, mask, prompt)
    ids = prompt.input_ids.expand(2, -1)
    theirs = twin(pixel_values=pixels, pixel_mask=mask.long(), input_ids=ids, attention_mask=torch.ones_like(ids))
    (ours.final_logits.sigmoid().sum() + ours.final_boxes.square().sum()).backward()
    (theirs.logits[..., : ids.shape[1]].sigmoid().sum() + theirs.pred_boxes.square().sum()).backward()
    expected = dict(twin.named_parameters())
    compared = 0
    for name, parameter in detector.model.named_parameters():
        wanted = expected[name].grad
        if wanted is None or not wanted.any():
            continue
        assert parameter.grad is not None, name
        assert (parameter.grad - wanted).abs().max() <= 1e-6 * wanted.abs().max() + 1e-12, name
        compared += 1
    assert compared > 0.8 * len(expected)


def test_a_sampler_off_the_cpu_and_in_graphs_takes_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain form has the same numbers; here it is taken on a CPU, as in an exported graph."""
    detector = GroundingDetector(drawn(random_nano())).eval()
    attention = detector.model.model.decoder.layers[0].encoder_attn
    inputs = {
        "hidden_states": torch.randn(1, 5, 64),
        "encoder_hidden_states": torch.randn(1, 5, 64),
        "reference_points": torch.rand(1, 5, 4, 4),
        "spatial_shapes": torch.tensor([(1, 2), (1, 1), (1, 1), (1, 1)]),
        "spatial_shapes_list": [(1, 2), (1, 1), (1, 1), (1, 1)],
        "level_start_index": torch.tensor([0, 2, 3, 4]),
    }
    with torch.no_grad():
        rows, _ = attention(**inputs)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        plain, _ = attention(**inputs)
    assert rows.abs().max() > 0
    torch.testing.assert_close(rows, plain, rtol=1e-5, atol=1e-5)
