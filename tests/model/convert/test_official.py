"""The table of the official names, held against torch's own layers, formulas of the papers, and the list of names."""

import json
import re
from pathlib import Path

import pytest
import torch
from official_files import official_tensors, random_model, same_tensors, small_config
from torch import nn
from transformers import GroundingDinoForObjectDetection

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.convert.official import OFFICIAL
from gdino_lightning.model.convert.sizes import configured_sizes, count_sizes
from gdino_lightning.model.convert.state import convert, patterns, window_index
from gdino_lightning.model.convert.write import official_state
from gdino_lightning.model.nano import nano_config
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained

NAMES = Path(__file__).parents[4] / "shared" / "data" / "groundingdino_swint_ogc.names.json"
WHERE = Path("x.pth")


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def theirs(model):
    return official_tensors(model)


def test_all_tensors_come_back_and_the_configuration_is_read_off_them(model, theirs):
    converted = convert(theirs, WHERE)
    assert same_tensors(converted.model.state_dict(), model.state_dict())
    said, meant = converted.model.config.to_dict(), small_config().to_dict()
    differing = {key for key in meant if said[key] != meant[key]}
    assert differing <= {"architectures", "fusion_droppath", "backbone_config", "text_config"}
    for part, ignored in (("backbone_config", {"drop_path_rate"}), ("text_config", {"hidden_dropout_prob"})):
        differing = {key for key in meant[part] if said[part][key] != meant[part][key]}
        assert differing <= ignored | {"architectures"}


def test_from_the_official_names_to_transformers_and_back_no_bit_and_no_tensor_is_lost(theirs):
    converted = convert(theirs, WHERE)
    back, rest = official_state(Pretrained(converted.model, nano_tokenizer(), unused=converted.unused))
    assert same_tensors(back, theirs)
    assert sorted(rest) == [f"model.backbone.conv_encoder.model.swin.layernorm.{part}" for part in ("bias", "weight")]


@pytest.mark.shared
@pytest.mark.slow
def test_the_published_model_has_exactly_these_names_and_shapes():
    published = {name: tuple(about["shape"]) for name, about in json.loads(NAMES.read_text()).items()}
    state = {name: torch.zeros(()).expand(shape) for name, shape in published.items()}
    for name in state:
        if name.endswith("relative_position_index"):
            state[name] = window_index(7)
    converted = convert(state, WHERE)
    config = converted.model.config
    assert config.backbone_config.depths == [2, 2, 6, 2]
    assert config.backbone_config.num_heads == [3, 6, 12, 24]
    assert (config.d_model, config.num_queries, config.encoder_attention_heads) == (256, 900, 8)
    assert (config.encoder_ffn_dim, config.text_config.num_attention_heads) == (2048, 12)
    back, _ = official_state(Pretrained(converted.model, nano_tokenizer(), unused=converted.unused))
    assert {name: tuple(tensor.shape) for name, tensor in back.items()} == published


def test_sizes_told_by_names_are_those_of_the_configuration(theirs):
    assert count_sizes(theirs, OFFICIAL.layers) == configured_sizes(small_config())


@pytest.mark.parametrize(
    ("layer", "ours"),
    [
        ("transformer.encoder.text_layers.1.self_attn", "model.encoder.layers.1.text_enhancer_layer.self_attn"),
        ("transformer.decoder.layers.2.ca_text", "model.decoder.layers.2.encoder_attn_text"),
        ("transformer.decoder.layers.2.self_attn", "model.decoder.layers.2.self_attn"),
    ],
)
def test_stacked_attention_answers_as_torchs_own_attention_does(theirs, layer, ours):
    config = small_config()
    heads = config.encoder_attention_heads // 2 if "text_layers" in layer else config.decoder_attention_heads
    attention = nn.MultiheadAttention(config.d_model, heads, batch_first=True).eval()
    attention.load_state_dict({name: theirs[f"{layer}.{name}"] for name, _ in attention.named_parameters()})
    module = convert(theirs, WHERE).model.get_submodule(ours)
    query, text = torch.randn(2, 5, config.d_model), torch.randn(2, 7, config.d_model)
    expected, _ = attention(query, text, text)
    torch.testing.assert_close(module(query, text, text)[0], expected, rtol=1e-5, atol=1e-6)


def test_swins_windows_attend_as_the_paper_writes_it(theirs):
    """Softmax(q k' / sqrt(d) + bias of the offset) v, head by head, place by place (Swin, equation 4)."""
    name, side = "backbone.0.layers.1.blocks.1", 7
    state = {key.removeprefix(f"{name}.attn."): value for key, value in theirs.items() if key.startswith(name)}
    heads, width = state["relative_position_bias_table"].shape[1], state["proj.weight"].shape[0]
    tokens = torch.randn(side * side, width)
    query, key, value = (
        (tokens @ weight.T + bias).reshape(-1, heads, width // heads)
        for weight, bias in zip(state["qkv.weight"].chunk(3), state["qkv.bias"].chunk(3), strict=True)
    )
    bias = torch.stack(
        [
            torch.stack(
                [
                    state["relative_position_bias_table"][
                        (at // side - to // side + side - 1) * (2 * side - 1) + at % side - to % side + side - 1
                    ]
                    for to in range(side * side)
                ]
            )
            for at in range(side * side)
        ]
    )
    weights = torch.einsum("qhc,khc->qkh", query, key) / (width // heads) ** 0.5 + bias
    mixed = torch.einsum("qkh,khc->qhc", weights.softmax(1), value).flatten(1)
    expected = mixed @ state["proj.weight"].T + state["proj.bias"]
    layers = convert(theirs, WHERE).model.model.backbone.conv_encoder.model.swin.encoder.layers
    answer, _ = layers[1].blocks[1].attention(tokens[None])
    torch.testing.assert_close(answer[0], expected, rtol=1e-5, atol=1e-6)


def test_patch_merging_reads_its_four_neighbours_column_by_column(theirs):
    name = "backbone.0.layers.0.downsample"
    merging = convert(theirs, WHERE).model.model.backbone.conv_encoder.model.swin.encoder.layers[0].downsample
    width = theirs[f"{name}.reduction.weight"].shape[0] // 2
    grid = torch.randn(4, 6, width)
    expected = []
    for row in range(0, 4, 2):
        for column in range(0, 6, 2):
            four = torch.cat(
                [grid[row, column], grid[row + 1, column], grid[row, column + 1], grid[row + 1, column + 1]]
            )
            normal = (four - four.mean()) / (four.var(unbiased=False) + 1e-5).sqrt()
            normal = normal * theirs[f"{name}.norm.weight"] + theirs[f"{name}.norm.bias"]
            expected.append(theirs[f"{name}.reduction.weight"] @ normal)
    answer = merging(grid.reshape(1, 24, width), (4, 6))
    torch.testing.assert_close(answer[0], torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("feat_map.weight", "model.text_projection.weight"),
        ("transformer.encoder.fusion_layers.1.gamma_v", "model.encoder.layers.1.fusion_layer.vision_param"),
        ("transformer.encoder.fusion_layers.1.gamma_l", "model.encoder.layers.1.fusion_layer.text_param"),
        (
            "transformer.encoder.fusion_layers.0.attn.values_l_proj.bias",
            "model.encoder.layers.0.fusion_layer.attn.values_text_proj.bias",
        ),
        # the official decoder layer: self-attention (norm2), text (catext_norm), picture (norm1), feed-forward (norm3)
        ("transformer.decoder.layers.1.norm1.weight", "model.decoder.layers.1.encoder_attn_layer_norm.weight"),
        ("transformer.decoder.layers.1.norm2.weight", "model.decoder.layers.1.self_attn_layer_norm.weight"),
        ("transformer.decoder.layers.1.catext_norm.bias", "model.decoder.layers.1.encoder_attn_text_layer_norm.bias"),
        ("backbone.0.norm1.weight", "model.backbone.conv_encoder.model.hidden_states_norms.stage2.weight"),
        ("bbox_embed.2.layers.1.weight", "bbox_embed.2.layers.1.weight"),
        ("transformer.enc_out_bbox_embed.layers.2.bias", "model.encoder_output_bbox_embed.layers.2.bias"),
        ("transformer.tgt_embed.weight", "model.query_position_embeddings.weight"),
        ("transformer.decoder.ref_point_head.layers.0.weight", "model.decoder.reference_points_head.layers.0.weight"),
    ],
)
def test_tensors_that_are_easily_confused_go_where_the_code_reads_them(theirs, name, ours):
    assert torch.equal(convert(theirs, WHERE).model.state_dict()[ours], theirs[name])


def test_every_layer_keeps_a_head_of_its_own(theirs):
    parted = dict(theirs)
    for prefix in ("", "transformer.decoder."):
        parted[f"{prefix}bbox_embed.1.layers.2.bias"] = torch.ones(4)
    converted = convert(parted, WHERE)
    assert converted.model.config.decoder_bbox_embed_share is False
    assert torch.equal(converted.model.bbox_embed[1].layers[2].bias, torch.ones(4))
    assert torch.equal(converted.model.model.decoder.bbox_embed[1].layers[2].bias, torch.ones(4))
    assert not torch.equal(converted.model.bbox_embed[0].layers[2].bias, torch.ones(4))


def test_a_decoder_that_refines_with_other_heads_than_it_predicts_with_is_refused(theirs):
    parted = theirs | {"transformer.decoder.bbox_embed.1.layers.2.bias": torch.ones(4)}
    with pytest.raises(CheckpointError, match=r"other heads .*bbox_embed\.1\.layers\.2\.bias"):
        convert(parted, WHERE)


def test_every_missing_unexpected_and_misshaped_tensor_is_named(theirs):
    broken = {name: tensor for name, tensor in theirs.items() if "fusion_layers" not in name}
    broken |= {"extra.0.weight": torch.zeros(1), "extra.1.weight": torch.zeros(1), "other": torch.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        convert(broken, WHERE)
    text = str(caught.value)
    assert "\n" not in text
    gone = {re.sub(r"\.\d+\.", ".*.", name) for name in theirs if "fusion_layers" in name}
    assert len(gone) == 18
    assert all(f"{name} (2)" in text for name in gone)
    assert "unexpected: extra.*.weight (2), other" in text
    with pytest.raises(CheckpointError, match=r"misshaped: feat_map\.weight \[3, 3\], expected \[64, 128\]"):
        convert(theirs | {"feat_map.weight": torch.zeros(3, 3)}, WHERE)
    with pytest.raises(CheckpointError, match=r"misshaped: .*in_proj_bias \[2\]"):
        convert(theirs | {"transformer.decoder.layers.0.ca_text.in_proj_bias": torch.zeros(2)}, WHERE)


def test_layers_that_are_gone_altogether_are_missing(theirs):
    rest = {name: tensor for name, tensor in theirs.items() if not name.startswith("transformer.decoder.layers.")}
    with pytest.raises(CheckpointError, match=r"missing: transformer\.decoder\.layers\.0\.ca_text"):
        convert(rest, WHERE)


def test_half_precision_is_read_exactly_and_integers_are_refused(theirs, model):
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in theirs.items()}
    loaded = convert(half, WHERE).model.model.text_projection
    assert loaded.weight.dtype == torch.float32
    assert torch.equal(loaded.weight, model.model.text_projection.weight.half().float())
    with pytest.raises(CheckpointError, match=r"feat_map\.bias \(torch\.int8 instead of float32\)"):
        convert(theirs | {"feat_map.bias": torch.zeros(64, dtype=torch.int8)}, WHERE)


def test_a_width_without_a_known_number_of_heads_is_an_error():
    nano = GroundingDinoForObjectDetection(nano_config())
    with pytest.raises(CheckpointError, match="64 wide and no shape tells its number of attention heads"):
        convert(official_state(Pretrained(nano, nano_tokenizer()))[0], WHERE)


def test_the_index_of_a_window_counts_offsets_by_rows_and_columns():
    # places a b / c d of a 2 x 2 window: rows of the 9 offsets, from (-1, -1) to (1, 1)
    assert window_index(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_a_window_that_is_numbered_otherwise_is_refused(theirs):
    name = "backbone.0.layers.0.blocks.0.attn.relative_position_index"
    with pytest.raises(CheckpointError, match=r"layers\.0\.blocks\.0\.attn\.relative_position_index number"):
        convert(theirs | {name: theirs[name].T}, WHERE)


def test_names_that_differ_in_numbers_alone_are_one_entry():
    assert patterns(["a.0.b", "a.1.b", "c", "d.4.e"]) == ["a.*.b (2)", "c", "d.4.e"]
