"""The table of the official code's names (github.com/IDEA-Research/GroundingDINO), which Open-GroundingDino shares."""

from collections.abc import Iterator

from gdino_lightning.model.convert.sizes import Sizes
from gdino_lightning.model.convert.tables import (
    SAME,
    STAGE_NORMS,
    SWIN,
    Naming,
    Row,
    bert_rows,
    fusion_rows,
    renamed,
    same,
    sampling_rows,
    stacked,
)

# The official code normalises after each part, so `norm1` is the norm of whatever comes first in its layer.
_SWIN_BLOCK = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_TEXT_LAYER = {
    "self_attn.out_proj": "self_attn.out_proj",
    "norm1": "layer_norm_before",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "layer_norm_after",
}
_IMAGE_LAYER = {
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
_DECODER_LAYER = {
    "norm1": "encoder_attn_layer_norm",
    "ca_text.out_proj": "encoder_attn_text.out_proj",
    "catext_norm": "encoder_attn_text_layer_norm",
    "self_attn.out_proj": "self_attn.out_proj",
    "norm2": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm3": "final_layer_norm",
}
_SINGLE = {
    "feat_map": "model.text_projection",
    "transformer.enc_output": "model.enc_output",
    "transformer.enc_output_norm": "model.enc_output_norm",
    "transformer.decoder.norm": "model.decoder.layer_norm",
}


def _rows(sizes: Sizes) -> Iterator[Row]:
    yield from _swin_rows(sizes)
    yield from bert_rows("bert", sizes.text_layers)
    for index in range(sizes.levels):
        for part in (0, 1):  # a convolution and its group norm
            yield from same(f"input_proj.{index}.{part}", f"model.input_proj_vision.{index}.{part}")
    for theirs, ours in _SINGLE.items():
        yield from same(theirs, ours)
    yield Row("transformer.level_embed", ("model.level_embed",), SAME)
    yield from same("transformer.tgt_embed", "model.query_position_embeddings", ("weight",))
    for index in range(sizes.encoder_layers):
        yield from _encoder_layer(index)
    for index in range(sizes.decoder_layers):
        yield from _decoder_layer(index)
    yield from _head_rows(sizes.decoder_layers)


def _swin_rows(sizes: Sizes) -> Iterator[Row]:
    yield from same("backbone.0.patch_embed.proj", f"{SWIN}.embeddings.patch_embeddings.projection")
    yield from same("backbone.0.patch_embed.norm", f"{SWIN}.embeddings.norm")
    for stage, depth in enumerate(sizes.blocks):
        theirs, ours = f"backbone.0.layers.{stage}", f"{SWIN}.encoder.layers.{stage}"
        for block in range(depth):
            yield from _swin_block(f"{theirs}.blocks.{block}", f"{ours}.blocks.{block}")
        if stage + 1 < len(sizes.blocks):
            yield from same(f"{theirs}.downsample.reduction", f"{ours}.downsample.reduction", ("weight",))
            yield from same(f"{theirs}.downsample.norm", f"{ours}.downsample.norm")
    for number in sizes.stages:  # counted from 0 there, from 1 here
        yield from same(f"backbone.0.norm{number - 1}", f"{STAGE_NORMS}.stage{number}")


def _swin_block(theirs: str, ours: str) -> Iterator[Row]:
    table = "relative_position_bias_table"
    yield Row(f"{theirs}.attn.{table}", (f"{ours}.attention.relative_position_bias.{table}",), SAME)
    yield from stacked(f"{theirs}.attn.qkv", f"{ours}.attention", ("q_proj", "k_proj", "v_proj"), joint=".")
    yield from renamed(theirs, ours, _SWIN_BLOCK)


def _encoder_layer(index: int) -> Iterator[Row]:
    ours = f"model.encoder.layers.{index}"
    text, image = f"transformer.encoder.text_layers.{index}", f"transformer.encoder.layers.{index}"
    yield from fusion_rows(f"transformer.encoder.fusion_layers.{index}", f"{ours}.fusion_layer")
    yield from stacked(f"{text}.self_attn.in_proj", f"{ours}.text_enhancer_layer.self_attn", joint="_")
    yield from renamed(text, f"{ours}.text_enhancer_layer", _TEXT_LAYER)
    yield from sampling_rows(f"{image}.self_attn", f"{ours}.deformable_layer.self_attn")
    yield from renamed(image, f"{ours}.deformable_layer", _IMAGE_LAYER)


def _decoder_layer(index: int) -> Iterator[Row]:
    theirs, ours = f"transformer.decoder.layers.{index}", f"model.decoder.layers.{index}"
    yield from sampling_rows(f"{theirs}.cross_attn", f"{ours}.encoder_attn")
    yield from stacked(f"{theirs}.ca_text.in_proj", f"{ours}.encoder_attn_text", joint="_")
    yield from stacked(f"{theirs}.self_attn.in_proj", f"{ours}.self_attn", joint="_")
    yield from renamed(theirs, ours, _DECODER_LAYER)


def _head_rows(decoder_layers: int) -> Iterator[Row]:
    points = "transformer.decoder.ref_point_head.layers"
    for index in (0, 1):
        yield from same(f"{points}.{index}", f"model.decoder.reference_points_head.layers.{index}")
    for index in (0, 1, 2):
        yield from same(
            f"transformer.enc_out_bbox_embed.layers.{index}", f"model.encoder_output_bbox_embed.layers.{index}"
        )
        for layer in range(decoder_layers):
            head = f"bbox_embed.{layer}.layers.{index}"
            yield from same(head, head)
            yield from same(f"transformer.decoder.{head}", f"model.decoder.{head}")


OFFICIAL = Naming(
    program="the official code",
    mark="feat_map.weight",
    layers={
        "blocks": r"backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.",
        "stages": r"backbone\.0\.norm(\d+)\.",
        "levels": r"input_proj\.(\d+)\.",
        "text_layers": r"bert\.encoder\.layer\.(\d+)\.",
        "encoder_layers": r"transformer\.encoder\.layers\.(\d+)\.",
        "decoder_layers": r"transformer\.decoder\.layers\.(\d+)\.",
    },
    rows=_rows,
    unused={
        r"label_enc\.weight": "classes as denoising queries of an earlier training",
        r"bert\.pooler\.dense\.(weight|bias)": "BERT's summary of a sentence, where detection reads every token",
        r"bert\.embeddings\.position_ids": "the numbers from 0 up",
    },
    window_index=r"backbone\.0\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index",
)
