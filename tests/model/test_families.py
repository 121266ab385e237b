"""Both families with the backbones and settings of published weights, against transformers' own forward.

What the published configurations hold: Grounding DINO shares one box head among its decoder layers and has four
feature levels; MM-GDINO and LLMDet have a box head and a class bias of their own for each layer, and their Swin-L has
five levels, four of which are stages of the backbone. All start their queries from learned content.

Comparisons here are in float64. Of 900 proposals two or more often score the same to float32 noise; which of them
comes first decides what content a query starts from, so in float32 either forward may go its own way.
"""

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from pictures import pictures, relative_error
from torch import Tensor, nn
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    PreTrainedTokenizerFast,
    SwinConfig,
)
from untouched import untouched

from gdino_lightning.errors import CheckpointError
from gdino_lightning.model.adapt import is_unused, part_of
from gdino_lightning.model.detector import GroundingDetector, HuggingFaceDetector, Switches
from gdino_lightning.model.nano import nano_config
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import load_pretrained
from gdino_lightning.prompt import PromptBatch, Vocabulary

ANIMALS = Vocabulary(["cat", "red bird", "fish", "without mask", "with mask"], nano_tokenizer())
PROMPTS = PromptBatch.of([ANIMALS.prompt([0, 3, 1]), ANIMALS.prompt([2])])  # of different lengths, so one is padded
FAMILIES = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}
OWN_HEADS = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
FIVE_LEVELS = {"num_feature_levels": 5, "stages": [1, 2, 3, 4]}
SWIN_NORM = {f"model.backbone.conv_encoder.model.swin.layernorm.{kind}" for kind in ("weight", "bias")}

VARIANTS = {
    "Grounding DINO": ("grounding-dino", {}),
    "Grounding DINO, own box heads": ("grounding-dino", {"decoder_bbox_embed_share": False}),
    "Grounding DINO, five levels": ("grounding-dino", FIVE_LEVELS),
    "MM-GDINO": ("mm-grounding-dino", OWN_HEADS),
    "MM-GDINO, shared box head": ("mm-grounding-dino", {**OWN_HEADS, "decoder_bbox_embed_share": True}),
    "MM-GDINO, shared class bias": ("mm-grounding-dino", {**OWN_HEADS, "decoder_cls_embed_share": True}),
    "MM-GDINO, all shared": ("mm-grounding-dino", {}),
    "MM-GDINO, five levels": ("mm-grounding-dino", {**OWN_HEADS, **FIVE_LEVELS}),
    "MM-GDINO, five levels, three of them stages": ("mm-grounding-dino", {**OWN_HEADS, "num_feature_levels": 5}),
}


@dataclass(frozen=True)
class Published:
    """A published shape: family and Swin, with d_model 256, 6 + 6 layers, 900 queries and BERT base around it.

    Attributes:
        swin_millions: Parameters of the backbone with its classifier of 1,000 classes, as Swin's authors count.
        side: Height of the test picture in px: the least that gives transformers the 900 proposals it needs.
    """

    family: str
    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    image_size: int
    swin_millions: float
    side: int
    stages: tuple[int, ...] = (2, 3, 4)
    levels: int = 4

    def build(self) -> GroundingDetector:
        swin = SwinConfig(
            embed_dim=self.embed_dim,
            depths=self.depths,
            num_heads=self.heads,
            window_size=self.window,
            image_size=self.image_size,
            out_indices=list(self.stages),
        )
        heads = OWN_HEADS if self.family == "mm-grounding-dino" else {}
        return build(
            self.family, backbone_config=swin, text_config=BertConfig(), num_feature_levels=self.levels, **heads
        )


SWIN_T = Published("grounding-dino", 96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 224, swin_millions=28.29, side=192)
SWIN_B = Published("grounding-dino", 128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 384, swin_millions=87.90, side=192)
SWIN_L = Published(
    family="mm-grounding-dino",
    embed_dim=192,
    depths=(2, 2, 18, 2),
    heads=(6, 12, 24, 48),
    window=12,
    image_size=384,
    swin_millions=196.74,
    side=96,
    stages=(1, 2, 3, 4),
    levels=5,
)


def build(family: str, **settings: object) -> GroundingDetector:
    """A detector with every weight moved off its initial value: no path is silent and no two heads are equal."""
    config, model = FAMILIES[family]
    torch.manual_seed(0)
    detector = GroundingDetector(model(config(**settings))).eval()
    with torch.no_grad():
        for parameter in detector.model.parameters():
            parameter.add_(torch.empty_like(parameter).uniform_(-0.03, 0.03))
    return detector


def nano(family: str, *, stages: list[int] | None = None, **settings: object) -> GroundingDetector:
    config = {k: v for k, v in nano_config().to_dict().items() if k not in ("model_type", "architectures")}
    if stages:
        config["backbone_config"] |= {"out_indices": stages, "out_features": [f"stage{i}" for i in stages]}
    return build(family, **{**config, **settings})


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def variant(request) -> GroundingDetector:
    family, settings = request.param
    return nano(family, **settings)


@torch.no_grad()
def assert_equal_to_transformers(detector: GroundingDetector, side: int) -> None:
    """Compare all stages, with a prompt of its own for each picture."""
    detector.double()
    pixels, mask = pictures(height=side, width=side // 3 * 4)
    pixels = pixels.double()
    tokens = PROMPTS.token_mask.shape[1]
    ids = torch.zeros(PROMPTS.token_mask.shape, dtype=torch.int64)
    for b, prompt in enumerate(PROMPTS.prompts):
        ids[b, : len(prompt.input_ids)] = prompt.input_ids
    ours = detector(pixels, mask, PROMPTS)
    theirs = untouched(detector.model)(
        pixel_values=pixels, pixel_mask=mask.long(), input_ids=ids, attention_mask=PROMPTS.token_mask.long()
    )
    assert relative_error(ours.final_logits, theirs.logits[..., :tokens]) <= 1e-5
    assert relative_error(ours.final_boxes, theirs.pred_boxes) <= 1e-5
    for layer, (logits, boxes) in enumerate(their_layers(detector.model, theirs, PROMPTS.token_mask), start=1):
        assert relative_error(ours.logits[layer], logits) <= 1e-5
        assert relative_error(ours.boxes[layer], boxes) <= 1e-5
    # the encoder stage: transformers keeps all proposals, ours are its best ones
    best = theirs.enc_outputs_class.amax(-1).topk(ours.logits.shape[2], dim=1).indices[..., None]
    logits = theirs.enc_outputs_class[..., :tokens].gather(1, best.expand(-1, -1, tokens))
    boxes = theirs.enc_outputs_coord_logits.gather(1, best.expand(-1, -1, 4)).sigmoid()
    assert relative_error(ours.logits[0], logits) <= 1e-5
    assert relative_error(ours.boxes[0], boxes) <= 1e-5


def their_layers(model: HuggingFaceDetector, theirs, token_mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and boxes of each decoder layer, from the states and boxes that transformers returns of them."""
    starts = [theirs.init_reference_points, *theirs.intermediate_reference_points.unbind(1)]
    for layer, hidden in enumerate(theirs.intermediate_hidden_states.unbind(1)):
        logits = model.class_embed[layer](hidden, theirs.encoder_last_hidden_state_text, token_mask)
        boxes = (model.bbox_embed[layer](hidden) + torch.special.logit(starts[layer], eps=1e-5)).sigmoid()
        yield logits[..., : token_mask.shape[1]], boxes


def reached(detector: GroundingDetector, loss: Tensor) -> set[str]:
    """The parameters that get a gradient from a loss."""
    detector.zero_grad()
    loss.backward()
    return {name for name, p in detector.model.named_parameters() if p.grad is not None and p.grad.any()}


def reached_from_all_stages(detector: GroundingDetector) -> set[str]:
    pixels, mask = pictures(batch=1)
    outputs = detector(pixels, mask, PROMPTS.prompts[0])
    return reached(detector, outputs.logits.square().mean() + outputs.boxes.square().mean())


def distinct(parameters: Iterator[nn.Parameter]) -> int:
    return len(set(map(id, parameters)))


def test_every_setting_of_both_families_equals_transformers(variant):
    assert_equal_to_transformers(variant, side=96)


def test_heads_are_shared_or_not_as_the_configuration_says(variant):
    config, model = variant.model.config, variant.model
    boxes = (head.layers[0].weight for heads in (model.bbox_embed, model.model.decoder.bbox_embed) for head in heads)
    assert distinct(boxes) == (1 if config.decoder_bbox_embed_share else config.decoder_layers)
    if config.model_type == "mm-grounding-dino":
        biases = (head.bias for heads in (model.class_embed, model.model.decoder.class_embed) for head in heads)
        assert distinct(biases) == (1 if config.decoder_cls_embed_share else config.decoder_layers)


def test_every_parameter_but_swins_last_norm_learns(variant):
    names = {name for name, _ in variant.model.named_parameters()}
    assert names - reached_from_all_stages(variant) == SWIN_NORM


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_heads_of_their_own_learn_from_their_own_layer_and_box_heads_from_the_next_one_looking_twice(layer, twice):
    model = nano("mm-grounding-dino", **OWN_HEADS).model
    detector = GroundingDetector(model, Switches(look_forward_twice=twice)).eval()
    pixels, mask = pictures(batch=1)

    def heads(stage_loss: Tensor, kind: str) -> set[int]:
        names = reached(detector, stage_loss)
        return {i for i in range(3) if any(name.startswith(f"model.decoder.{kind}.{i}.") for name in names)}

    outputs = detector(pixels, mask, PROMPTS.prompts[0])
    assert heads(outputs.logits[1 + layer].sum(), "class_embed") == {layer}
    outputs = detector(pixels, mask, PROMPTS.prompts[0])
    assert heads(outputs.boxes[1 + layer].sum(), "bbox_embed") == {layer, *([layer - 1] if twice and layer else [])}


def test_heads_of_their_own_survive_a_folder(tmp_path):
    model = nano("mm-grounding-dino", **OWN_HEADS).model
    model.save_pretrained(tmp_path)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=nano_tokenizer(), **special).save_pretrained(tmp_path)
    loaded = load_pretrained(tmp_path).model
    assert isinstance(loaded, MMGroundingDinoForObjectDetection)
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_heads_of_their_own_that_the_configuration_does_not_name_are_refused(tmp_path):
    nano("mm-grounding-dino", **OWN_HEADS).model.save_pretrained(tmp_path)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=nano_tokenizer(), **special).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if not k.endswith("_share")}))
    with pytest.raises(CheckpointError, match='add "decoder_bbox_embed_share": false'):
        load_pretrained(tmp_path)


@pytest.fixture(scope="module", params=[SWIN_T, SWIN_B, SWIN_L], ids=["Swin-T", "Swin-B", "Swin-L"])
def published(request) -> Iterator[tuple[Published, GroundingDetector]]:
    """One at a time: the largest takes 1.4 GB, and twice that in float64."""
    yield request.param, request.param.build()
    gc.collect()


@pytest.mark.slow
def test_published_shapes_equal_transformers(published):
    shape, detector = published
    config = detector.model.config
    assert (config.d_model, config.encoder_layers, config.decoder_layers, config.num_queries) == (256, 6, 6, 900)
    assert config.text_config.vocab_size == 30522
    assert_equal_to_transformers(detector, shape.side)


def owner(model, parameter) -> str:
    """The part whose modules hold a parameter, by the attributes of transformers' classes."""
    core = model.model
    modules = {
        "backbone": [core.backbone],
        "text_encoder": [core.text_backbone],
        "projections": [core.input_proj_vision, core.text_projection],
        "encoder": [core.encoder],
        "query_selection": [
            core.enc_output,
            core.enc_output_norm,
            core.encoder_output_bbox_embed,
            core.encoder_output_class_embed,
            core.query_position_embeddings,
        ],
        "heads": [model.bbox_embed, model.class_embed],
        "decoder": [core.decoder],
    }
    if parameter is core.level_embed:
        return "projections"
    return next(part for part, held in modules.items() if any(parameter is p for m in held for p in m.parameters()))


@pytest.mark.slow
def test_published_backbones_have_their_size_and_each_parameter_is_in_its_part_and_learns(published):
    shape, detector = published
    core = detector.float().model.model
    classifier = (8 * shape.embed_dim + 1) * 1000
    count = sum(parameter.numel() for parameter in core.backbone.parameters())
    assert (count + classifier) / 1e6 == pytest.approx(shape.swin_millions, abs=0.01)
    named = dict(detector.model.named_parameters())
    assert {name: part_of(name) for name in named} == {name: owner(detector.model, p) for name, p in named.items()}
    silent = named.keys() - reached_from_all_stages(detector)
    detector.zero_grad()
    assert silent == SWIN_NORM == {name for name in named if is_unused(name)}
