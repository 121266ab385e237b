"""Each ablation does what the paper says and nothing else; each training switch changes gradients or memory only."""

import copy

import pytest
import torch
from pictures import pictures, relative_error

from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.features import ExtraQueries
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import PromptBatch, build_prompt

TOKENIZER = nano_tokenizer()
MASKS = build_prompt(["with mask", "without mask"], TOKENIZER)
OTHERS = build_prompt(["a red fish", "house"], TOKENIZER)


def moved_nano(seed: int = 1):
    model = random_nano(seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def switched(**off: bool) -> GroundingDetector:
    return GroundingDetector(moved_nano(), Switches(**off)).eval()


@torch.no_grad()
def fused(detector: GroundingDetector, pixels, mask, prompt):
    text = detector.encode_text(PromptBatch.of([prompt]).expand(len(pixels)))
    return detector.fuse(detector.encode_image(pixels, mask), text)


def test_without_fusion_pictures_and_words_do_not_see_each_other():
    pixels, mask = pictures()
    off, on = switched(fusion=False), switched()
    image, _ = fused(off, pixels, mask, MASKS)
    image_with_other_words, text = fused(off, pixels, mask, OTHERS)
    _, text_with_other_picture = fused(off, pixels.flip(0, 2), mask, OTHERS)
    assert torch.equal(image.features, image_with_other_words.features)
    assert torch.equal(text.features, text_with_other_picture.features)
    assert not torch.equal(fused(on, pixels, mask, MASKS)[0].features, fused(on, pixels, mask, OTHERS)[0].features)


@torch.no_grad()
def test_without_fusion_all_else_is_as_with_a_fusion_that_adds_nothing():
    """Independent truth: transformers' forward with the fusion's layer scales at 0."""
    pixels, mask = pictures()
    ours = switched(fusion=False)(pixels, mask, MASKS)
    model = moved_nano().eval()
    for layer in model.model.encoder.layers:
        layer.fusion_layer.vision_param.zero_()
        layer.fusion_layer.text_param.zero_()
        layer.fusion_layer.layer_norm_vision = layer.fusion_layer.layer_norm_text = torch.nn.Identity()
    theirs = model(pixel_values=pixels, pixel_mask=mask.long(), input_ids=MASKS.input_ids.expand(2, -1))
    assert relative_error(ours.final_logits, theirs.logits[..., : len(MASKS.input_ids)]) <= 1e-5
    assert relative_error(ours.final_boxes, theirs.pred_boxes) <= 1e-5


@torch.no_grad()
def test_without_text_cross_attention_the_decoder_does_not_read_words():
    """Independent truth: transformers' forward with that sub-layer's output and norm made to do nothing."""
    pixels, mask = pictures()
    ours = switched(text_cross_attention=False)(pixels, mask, MASKS)
    model = moved_nano().eval()
    for layer in model.model.decoder.layers:
        layer.encoder_attn_text.out_proj.weight.zero_()
        layer.encoder_attn_text.out_proj.bias.zero_()
        layer.encoder_attn_text_layer_norm = torch.nn.Identity()
    theirs = model(pixel_values=pixels, pixel_mask=mask.long(), input_ids=MASKS.input_ids.expand(2, -1))
    assert relative_error(ours.final_logits, theirs.logits[..., : len(MASKS.input_ids)]) <= 1e-5
    assert relative_error(ours.final_boxes, theirs.pred_boxes) <= 1e-5


@torch.no_grad()
def test_without_text_guided_queries_the_decoder_starts_from_the_same_anchors_for_every_picture_and_text():
    pixels, mask = pictures()
    off, on = switched(text_guided_queries=False), switched()
    starts = []
    for prompt in (MASKS, OTHERS):
        image, text = fused(off, pixels, mask, prompt)
        logits, boxes, content, references = off.select_queries(image, text)
        starts += [*references]
        guided_logits, guided_boxes, guided_content, guided = on.select_queries(image, text)
        # the encoder stage and the content of the queries are those of the full model
        assert torch.equal(logits, guided_logits)
        assert torch.equal(boxes, guided_boxes)
        assert torch.equal(content, guided_content)
        assert torch.equal(guided, boxes)
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert relative_error(starts[0], off.model.model.reference_points.weight.sigmoid()) <= 1e-6


@torch.no_grad()
def test_anchors_lie_all_over_the_picture_at_first():
    off = switched(text_guided_queries=False)
    cx, cy, w, h = off.model.model.reference_points.weight.sigmoid().unbind(1)
    for centre in (cx, cy):
        assert torch.histc(centre, 4, 0, 1).min() >= 10
    assert min(w.min(), h.min()) > 0
    assert max(w.max(), h.max()) <= 0.5 + 1e-6


def test_anchors_learn():
    off = switched(text_guided_queries=False)
    pixels, mask = pictures()
    off(pixels, mask, MASKS).boxes.sum().backward()
    assert off.model.model.reference_points.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_without_sub_sentence_masking_text_is_plain_bert_over_the_caption():
    off = switched(sub_sentence=False)
    ours = off.encode_text(PromptBatch.of([MASKS])).features
    core = off.model.model
    theirs = core.text_projection(core.text_backbone(MASKS.input_ids[None]).last_hidden_state)
    assert relative_error(ours, theirs) <= 1e-5


def gradients(detector: GroundingDetector, output) -> dict[str, torch.Tensor]:
    detector.zero_grad()
    output.backward()
    return {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}


def test_look_forward_twice_changes_no_output():
    pixels, mask = pictures()
    once, twice = (switched(look_forward_twice=on)(pixels, mask, MASKS) for on in (False, True))
    assert torch.equal(once.logits, twice.logits)
    assert torch.equal(once.boxes, twice.boxes)


@pytest.mark.parametrize("twice", [False, True])
def test_a_box_loss_reaches_the_layer_before_it_if_looked_at_twice_and_none_further_back(twice):
    pixels, mask = pictures()
    detector = switched(look_forward_twice=twice)
    refine = detector.model.model.decoder.bbox_embed
    for index in range(3):  # the published heads are tied; apart, each shows what reaches it
        refine[index] = copy.deepcopy(refine[index])
    detector(pixels, mask, MASKS).boxes[3].sum().backward()  # of the last of three decoder layers
    reached = [any(p.grad is not None and p.grad.any() for p in refine[index].parameters()) for index in range(3)]
    assert reached == [False, twice, False]


@pytest.mark.parametrize("train_text", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(train_text):
    pixels, mask = pictures()
    prompts = PromptBatch.of([MASKS, OTHERS])
    found = []
    for on in (False, True):
        detector = switched(gradient_checkpointing=on)
        detector.model.model.text_backbone.requires_grad_(train_text)
        detector.train()
        detector.model.model.text_backbone.train(train_text)
        outputs = detector(pixels, mask, prompts)
        logits = outputs.logits.masked_fill(outputs.logits.isinf(), 0)
        found.append(gradients(detector, logits.square().mean() + outputs.boxes.square().mean()))
    plain, saved = found
    assert plain.keys() == saved.keys()
    assert any("text_backbone" in name for name in plain) == train_text
    largest = max(gradient.abs().max() for gradient in plain.values())
    assert max((plain[name] - saved[name]).abs().max() / largest for name in plain) <= 1e-5


def test_gradient_checkpointing_keeps_less_for_the_backward_pass():
    pixels, mask = pictures()
    kept = []
    for on in (False, True):
        detector = switched(gradient_checkpointing=on).train()
        sizes = []

        def count(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            detector(pixels, mask, MASKS)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def extra_queries(groups, boxes=None):
    count = len(groups)
    weights = MASKS.phrase_map[0].float() / 2
    return ExtraQueries(
        token_weights=weights.double().expand(2, count, -1),
        boxes=(torch.full((2, count, 4), 0.5) if boxes is None else boxes.expand(2, -1, -1)).double(),
        groups=torch.tensor(groups).expand(2, -1),
    )


@torch.no_grad()
def test_extra_queries_leave_the_pictures_own_alone():
    pixels, mask = pictures(dtype=torch.float64)
    detector = switched().double()
    alone = detector(pixels, mask, MASKS)
    beside = detector(pixels, mask, MASKS, extra_queries([0, 0, 1, -1]))
    assert relative_error(beside.logits, alone.logits) <= 1e-5
    assert relative_error(beside.boxes, alone.boxes) <= 1e-5
    assert beside.extra_logits.shape == (3, 2, 4, len(MASKS.input_ids))
    assert beside.extra_boxes.shape == (3, 2, 4, 4)
    assert alone.extra_logits is None


@torch.no_grad()
def test_groups_of_extra_queries_do_not_see_one_another():
    pixels, mask = pictures(dtype=torch.float64)
    detector = switched().double()
    first = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.6, 0.5, 0.2, 0.3], [0.5, 0.5, 0.1, 0.1]])
    moved = first.clone()
    moved[2] = torch.tensor([0.8, 0.2, 0.3, 0.3])
    before = detector(pixels, mask, MASKS, extra_queries([0, 0, 1], first)).extra_logits
    after = detector(pixels, mask, MASKS, extra_queries([0, 0, 1], moved)).extra_logits
    assert relative_error(after[:, :, :2], before[:, :, :2]) <= 1e-5
    assert relative_error(after[:, :, 2:], before[:, :, 2:]) > 1e-3
    joined = detector(pixels, mask, MASKS, extra_queries([0, 0, 0], moved)).extra_logits
    assert relative_error(joined[:, :, :2], before[:, :, :2]) > 1e-5  # of one group they do
