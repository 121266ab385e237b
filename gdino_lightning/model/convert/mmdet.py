"""The table of MMDetection's names: MM-GDINO, LLMDet and its own Grounding DINO."""

import re
from collections.abc import Iterator

from gdino_lightning.model.convert.sizes import Sizes
from gdino_lightning.model.convert.tables import (
    SAME,
    SHARED,
    STAGE_NORMS,
    SWIN,
    UNFOLDED,
    Naming,
    Row,
    bert_rows,
    fusion_rows,
    renamed,
    same,
    sampling_rows,
    stacked,
)

_LANGUAGE = "language_model.language_backbone.body.model"
_POOLER = "BERT's summary of a sentence, where detection reads every token"
_SWIN_BLOCK = {
    "norm1": "layernorm_before",
    "attn.w_msa.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "ffn.layers.0.0": "mlp.fc1",
    "ffn.layers.1": "mlp.fc2",
}
_TEXT_LAYER = {
    "self_attn.attn.out_proj": "self_attn.out_proj",
    "norms.0": "layer_norm_before",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "norms.1": "layer_norm_after",
}
_IMAGE_LAYER = {
    "norms.0": "self_attn_layer_norm",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "norms.1": "final_layer_norm",
}
_DECODER_LAYER = {  # self-attention, text, image, feed-forward
    "self_attn.attn.out_proj": "self_attn.out_proj",
    "norms.0": "self_attn_layer_norm",
    "cross_attn_text.attn.out_proj": "encoder_attn_text.out_proj",
    "norms.1": "encoder_attn_text_layer_norm",
    "norms.2": "encoder_attn_layer_norm",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "norms.3": "final_layer_norm",
}
_SINGLE = {
    "text_feat_map": "model.text_projection",
    "memory_trans_fc": "model.enc_output",
    "memory_trans_norm": "model.enc_output_norm",
    "decoder.norm": "model.decoder.layer_norm",
}


def _rows(sizes: Sizes) -> Iterator[Row]:
    yield from _swin_rows(sizes)
    yield from bert_rows(_LANGUAGE, sizes.text_layers)
    for index in range(sizes.levels):
        yield from _neck_rows(index, len(sizes.stages))
    for theirs, ours in _SINGLE.items():
        yield from same(theirs, ours)
    yield Row("level_embed", ("model.level_embed",), SAME)
    yield from same("query_embedding", "model.query_position_embeddings", ("weight",))
    for index in range(sizes.encoder_layers):
        yield from _encoder_layer(index)
    for index in range(sizes.decoder_layers):
        yield from _decoder_layer(index)
    for index in (0, 1):
        layer = f"ref_point_head.layers.{index}"
        yield from same(f"decoder.{layer}", f"model.decoder.reference_points_head.layers.{index}")
    yield from _head_rows(sizes)


def _swin_rows(sizes: Sizes) -> Iterator[Row]:
    yield from same("backbone.patch_embed.projection", f"{SWIN}.embeddings.patch_embeddings.projection")
    yield from same("backbone.patch_embed.norm", f"{SWIN}.embeddings.norm")
    for stage, depth in enumerate(sizes.blocks):
        theirs, ours = f"backbone.stages.{stage}", f"{SWIN}.encoder.layers.{stage}"
        for block in range(depth):
            yield from _swin_block(f"{theirs}.blocks.{block}", f"{ours}.blocks.{block}")
        if stage + 1 < len(sizes.blocks):
            for name in ("reduction.weight", "norm.weight", "norm.bias"):
                yield Row(f"{theirs}.downsample.{name}", (f"{ours}.downsample.{name}",), UNFOLDED)
    for number in sizes.stages:  # counted from 0 there, from 1 here
        yield from same(f"backbone.norm{number - 1}", f"{STAGE_NORMS}.stage{number}")


def _swin_block(theirs: str, ours: str) -> Iterator[Row]:
    table = "relative_position_bias_table"
    yield Row(f"{theirs}.attn.w_msa.{table}", (f"{ours}.attention.relative_position_bias.{table}",), SAME)
    yield from stacked(f"{theirs}.attn.w_msa.qkv", f"{ours}.attention", ("q_proj", "k_proj", "v_proj"), joint=".")
    yield from renamed(theirs, ours, _SWIN_BLOCK)


def _neck_rows(index: int, backbone_outputs: int) -> Iterator[Row]:
    """One level: first those of the backbone's stages, then the extra ones, which are counted from 0 again."""
    extra = index - backbone_outputs
    theirs = f"neck.convs.{index}" if extra < 0 else f"neck.extra_convs.{extra}"
    yield from renamed(theirs, f"model.input_proj_vision.{index}", {"conv": "0", "gn": "1"})


def _encoder_layer(index: int) -> Iterator[Row]:
    ours = f"model.encoder.layers.{index}"
    text, image = f"encoder.text_layers.{index}", f"encoder.layers.{index}"
    yield from fusion_rows(f"encoder.fusion_layers.{index}", f"{ours}.fusion_layer")
    yield from stacked(f"{text}.self_attn.attn.in_proj", f"{ours}.text_enhancer_layer.self_attn", joint="_")
    yield from renamed(text, f"{ours}.text_enhancer_layer", _TEXT_LAYER)
    yield from sampling_rows(f"{image}.self_attn", f"{ours}.deformable_layer.self_attn")
    yield from renamed(image, f"{ours}.deformable_layer", _IMAGE_LAYER)


def _decoder_layer(index: int) -> Iterator[Row]:
    theirs, ours = f"decoder.layers.{index}", f"model.decoder.layers.{index}"
    yield from stacked(f"{theirs}.self_attn.attn.in_proj", f"{ours}.self_attn", joint="_")
    yield from stacked(f"{theirs}.cross_attn_text.attn.in_proj", f"{ours}.encoder_attn_text", joint="_")
    yield from sampling_rows(f"{theirs}.cross_attn", f"{ours}.encoder_attn")
    yield from renamed(theirs, ours, _DECODER_LAYER)


def _head_rows(sizes: Sizes) -> Iterator[Row]:
    """One head for each decoder layer, and the last for the encoder's proposals."""
    for layer in range(sizes.decoder_layers + 1):
        of_decoder = layer < sizes.decoder_layers
        for index in (0, 1, 2):  # linear layers with activations between them
            for part in ("weight", "bias"):
                head = f"bbox_embed.{layer}.layers.{index}.{part}"
                encoder = (f"model.encoder_output_bbox_embed.layers.{index}.{part}",)
                yield Row(
                    f"bbox_head.reg_branches.{layer}.{2 * index}.{part}",
                    (head, f"model.decoder.{head}") if of_decoder else encoder,
                    SHARED if of_decoder else SAME,
                )
        if sizes.class_bias:
            head = f"class_embed.{layer}.bias"
            yield Row(
                f"bbox_head.cls_branches.{layer}.bias",
                (head, f"model.decoder.{head}") if of_decoder else ("model.encoder_output_class_embed.bias",),
                SHARED if of_decoder else SAME,
            )


MMDET = Naming(
    program="MMDetection",
    mark="text_feat_map.weight",
    layers={
        "blocks": r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.",
        "stages": r"backbone\.norm(\d+)\.",
        "levels": r"neck\.((?:extra_)?convs\.\d+)\.",
        "text_layers": rf"{re.escape(_LANGUAGE)}\.encoder\.layer\.(\d+)\.",
        "encoder_layers": r"encoder\.layers\.(\d+)\.",
        "decoder_layers": r"decoder\.layers\.(\d+)\.",
        "class_bias": r"bbox_head\.cls_branches\.\d+\.bias",
    },
    rows=_rows,
    unused={
        r"dn_query_generator\.label_embedding\.weight": "classes as denoising queries of an earlier training",
        rf"{re.escape(_LANGUAGE)}\.pooler\.dense\.(weight|bias)": _POOLER,
        rf"{re.escape(_LANGUAGE)}\.embeddings\.position_ids": "the numbers from 0 up",
        r"(lmm|connector|region_connector|image_seperate|ref_point_head)\..*": "LLMDet's language model, for training",
    },
    window_index=r"backbone\.stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_index",
)
