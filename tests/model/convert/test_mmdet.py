"""The table of MMDetection's names."""

from pathlib import Path

import pytest
import torch
from official_files import moved, same_tensors, small_config
from torch import nn
from transformers import MMGroundingDinoForObjectDetection

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.convert.mmdet import MMDET
from gdino_lightning.model.convert.sizes import configured_sizes
from gdino_lightning.model.convert.state import convert, window_index

WHERE = Path("mm.pth")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return moved(MMGroundingDinoForObjectDetection(small_config(mm=True)))


@pytest.fixture(scope="module")
def theirs(model):
    ours = model.state_dict()
    rows = MMDET.rows(configured_sizes(model.config))
    state = {row.theirs: row.change.join([ours[name] for name in row.ours]) for row in rows}
    blocks = {name.split(".attn.")[0] for name in state if ".blocks." in name and ".attn." in name}
    return state | {f"{block}.attn.w_msa.relative_position_index": window_index(7) for block in blocks}


def test_an_mm_gdino_comes_back_with_a_head_for_each_layer(model, theirs):
    converted = convert(theirs, WHERE)
    assert isinstance(converted.model, MMGroundingDinoForObjectDetection)
    assert same_tensors(converted.model.state_dict(), model.state_dict())
    assert not converted.model.config.decoder_bbox_embed_share
    assert not converted.model.config.decoder_cls_embed_share


def test_patch_merging_unfolds_there_and_slices_here(theirs):
    """MMDetection: `nn.Unfold` (channel, row, column), then norm and reduction."""
    name = "backbone.stages.0.downsample"
    reduction, norm = theirs[f"{name}.reduction.weight"], (theirs[f"{name}.norm.weight"], theirs[f"{name}.norm.bias"])
    channels = reduction.shape[1] // 4
    picture = torch.randn(1, channels, 4, 6)
    patches = nn.Unfold(kernel_size=2, stride=2)(picture).transpose(1, 2)
    expected = nn.functional.layer_norm(patches, (4 * channels,), *norm) @ reduction.T
    merging = convert(theirs, WHERE).model.model.backbone.conv_encoder.model.swin.encoder.layers[0].downsample
    answer = merging(picture.flatten(2).transpose(1, 2), (4, 6))
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("neck.convs.2.gn.weight", "model.input_proj_vision.2.1.weight"),
        ("neck.extra_convs.0.conv.weight", "model.input_proj_vision.3.0.weight"),
        ("backbone.norm3.bias", "model.backbone.conv_encoder.model.hidden_states_norms.stage4.bias"),
        ("bbox_head.reg_branches.1.2.weight", "model.decoder.bbox_embed.1.layers.1.weight"),
        ("bbox_head.reg_branches.3.4.bias", "model.encoder_output_bbox_embed.layers.2.bias"),  # after 3 decoder layers
        ("bbox_head.cls_branches.2.bias", "class_embed.2.bias"),
        ("bbox_head.cls_branches.3.bias", "model.encoder_output_class_embed.bias"),
        ("memory_trans_fc.weight", "model.enc_output.weight"),
        ("query_embedding.weight", "model.query_position_embeddings.weight"),
        # MMDetection's decoder layer adds: self-attention, text, picture, feed-forward
        ("decoder.layers.1.norms.1.weight", "model.decoder.layers.1.encoder_attn_text_layer_norm.weight"),
        ("decoder.layers.1.norms.2.weight", "model.decoder.layers.1.encoder_attn_layer_norm.weight"),
        ("encoder.layers.0.ffn.layers.0.0.weight", "model.encoder.layers.0.deformable_layer.fc1.weight"),
    ],
)
def test_tensors_that_are_easily_confused_go_where_the_code_reads_them(theirs, name, ours):
    assert torch.equal(convert(theirs, WHERE).model.state_dict()[ours], theirs[name])


def test_without_a_bias_in_its_heads_it_is_the_first_grounding_dino(theirs):
    plain = {name: tensor for name, tensor in theirs.items() if "cls_branches" not in name}
    assert convert(plain, WHERE).model.config.model_type == "grounding-dino"


def test_what_only_training_uses_is_named_and_left(theirs, caplog):
    extra = {"dn_query_generator.label_embedding.weight": torch.zeros(3, 64), "lmm.layers.0.weight": torch.zeros(1)}
    with caplog.at_level("INFO", logger="gdino_lightning"):
        converted = convert(theirs | extra, WHERE)
    assert converted.unused == {}
    assert "not used: dn_query_generator.label_embedding.weight" in caplog.text
    assert "not used: lmm.layers.0.weight" in caplog.text


def test_a_learned_scale_of_the_logits_is_refused(theirs):
    with pytest.raises(CheckpointError, match=r"MMDetection; unexpected: bbox_head\.cls_branches\.0\.log_scale"):
        convert(theirs | {"bbox_head.cls_branches.0.log_scale": torch.zeros(1)}, WHERE)
