"""The traps of transformers' loss and of its training path: HF1, HF3, HF4, HF8, HF12, HF13, HF15, HF16.

Each test shows the trap in the installed transformers first, then that the same input is right here.
"""

import inspect

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher, GroundingDinoImageLoss
from transformers.models.grounding_dino.modeling_grounding_dino import build_label_maps, build_text_mask

from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.features import ExtraQueries
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import PromptBatch, build_prompt
from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.module import GroundingDinoModule
from tests.traps.theirs import BOXES, CLASSES, our_truths, picture, picture_of, their_forward, token_ids

ENCODER_HEADS = {"enc_output", "enc_output_norm", "encoder_output_bbox_embed"}


def taught(model: torch.nn.Module) -> set[str]:
    """Parts below `model.model` that a backward pass has reached."""
    reached = (name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().any())
    return {name.split(".")[1] for name in reached if name.startswith("model.")}


def their_criterion() -> GroundingDinoImageLoss:
    matcher = GroundingDinoHungarianMatcher(class_cost=2.0, bbox_cost=5.0, giou_cost=2.0)
    return GroundingDinoImageLoss(matcher, focal_alpha=0.25, losses=["labels", "boxes"])


def test_hf01_the_encoder_stage_scores_the_picture_and_teaches_the_heads_that_select_queries(detector, prompt):
    model = detector.model
    first, second = their_forward(model, seed=0), their_forward(model, seed=1)
    scored = first.encoder_logits.isfinite()
    assert torch.equal(first.encoder_logits[scored], second.encoder_logits[scored])  # another picture, the same scores
    sum(value for key, value in first.loss_dict.items() if key in ("loss_ce_enc", "loss_bbox_enc")).backward()
    assert taught(model) == {"query_position_embeddings", "text_projection", "text_backbone"}
    model.zero_grad()
    second.loss.backward()
    assert not ENCODER_HEADS & taught(model)  # not even by the whole loss
    model.zero_grad()

    ours = [detector(*picture(seed), prompt) for seed in (0, 1)]
    assert not torch.allclose(ours[0].logits[0], ours[1].logits[0])
    SetCriterion()(ours[0].logits[:1], ours[0].boxes[:1], our_truths(prompt)).total.backward()
    assert ENCODER_HEADS | {"backbone", "encoder", "text_projection"} <= taught(model)
    assert not {"query_position_embeddings", "decoder"} & taught(model)


def test_hf03_pictures_with_different_prompts_learn_their_own_words():
    """Predictions that say exactly the truth cost nothing; with the wrong row of the map they cost a lot."""
    phrases = [["with mask", "hat"], ["red coat"], ["dog", "cat"]]
    labels = [torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([1])]
    ids, attention = token_ids(*(" . ".join(words) + " ." for words in phrases))
    maps = build_label_maps(torch.zeros(3, 1, ids.shape[1]), ids)
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]]).expand(3, -1, -1)
    logits = torch.full((3, 2, ids.shape[1]), -20.0)
    for b, classes in enumerate(labels):
        logits[b, : len(classes)][maps[b][classes].bool()] = 20.0
    outputs = {
        "logits": logits,
        "pred_boxes": boxes,
        "label_maps": maps,
        "text_mask": build_text_mask(logits, attention),
    }
    targets = [{"class_labels": c, "boxes": boxes[b, : len(c)]} for b, c in enumerate(labels)]
    assert their_criterion()({k: v[:1] for k, v in outputs.items()}, targets[:1])["loss_ce"] < 1e-3
    assert their_criterion()({k: v[:2] for k, v in outputs.items()}, targets[:2])["loss_ce"] > 1.0
    with pytest.raises(IndexError):
        their_criterion()({k: v[1:] for k, v in outputs.items()}, targets[1:])

    prompts = PromptBatch.of([build_prompt(words, nano_tokenizer()) for words in phrases])
    truths = [Truth(boxes[b, : len(c)], prompts.phrase_map[b][c], prompts.token_mask[b]) for b, c in enumerate(labels)]
    assert SetCriterion()(logits[None], boxes[None], truths).total < 1e-3


def test_hf04_every_decoder_layer_is_trained_without_asking(detector, prompt):
    assert GroundingDinoConfig().auxiliary_loss is False
    assert not any(
        key.startswith("loss_ce_") and key != "loss_ce_enc" for key in their_forward(detector.model).loss_dict
    )

    outputs = detector(*picture(), prompt)
    outputs.logits.retain_grad()
    outputs.boxes.retain_grad()
    losses = SetCriterion()(outputs.logits, outputs.boxes, our_truths(prompt))
    losses.total.backward()
    assert losses.stages.shape == (1 + 3, 3)
    assert outputs.logits.grad.flatten(1).any(1).all()
    assert outputs.boxes.grad.flatten(1).any(1).all()


def gradients(model: torch.nn.Module, switches: Switches, prompt) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one step, and how often a piece of the first decoder layer ran for them."""
    model.zero_grad()
    detector = GroundingDetector(model, switches).train()
    runs: list[int] = []
    hook = model.model.decoder.layers[0].fc1.register_forward_hook(lambda *_: runs.append(1))
    outputs = detector(*picture(), prompt)
    SetCriterion()(outputs.logits, outputs.boxes, our_truths(prompt)).total.backward()
    hook.remove()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, len(runs)


@pytest.mark.filterwarnings("ignore:torch.utils.checkpoint", "ignore:`gradient_checkpointing_enable`")
def test_hf08_gradient_checkpointing_works_and_changes_no_gradient(detector, prompt):
    theirs = random_nano().train()
    with pytest.raises(ValueError, match="does not support"):
        theirs.activation_checkpointing_enable()
    theirs.model.decoder.gradient_checkpointing = True  # by hand, the arguments arrive in the wrong places
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        their_forward(theirs)

    plain, once = gradients(detector.model, Switches(), prompt)
    checkpointed, twice = gradients(detector.model, Switches(gradient_checkpointing=True), prompt)
    assert (once, twice) == (1, 2)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert (checkpointed[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name


@pytest.fixture
def one_rank():
    """A process group of this process alone: enough for DDP to check its parameters."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def steps_under_ddp(detector: GroundingDetector, prompt) -> None:
    parallel = DistributedDataParallel(detector)
    for seed in range(2):
        outputs = parallel(*picture(seed), prompt)
        SetCriterion()(outputs.logits, outputs.boxes, our_truths(prompt)).total.backward()


@pytest.mark.usefixtures("one_rank")
def test_hf12_ddp_takes_a_second_step_because_the_norm_that_nobody_reads_is_frozen(prompt):
    norm = "model.backbone.conv_encoder.model.swin.layernorm"
    unread = {f"{norm}.weight", f"{norm}.bias"}
    theirs = random_nano()
    assert all(p.requires_grad for p in theirs.parameters())
    with pytest.raises(RuntimeError, match="parameters that were not used in producing loss"):
        steps_under_ddp(GroundingDetector(theirs), prompt)
    assert {name for name, p in theirs.named_parameters() if p.grad is None} == unread

    module = GroundingDinoModule(list(prompt.phrases), weights="nano-random", freeze=[])
    steps_under_ddp(module.detector, prompt)
    assert {name for name, p in module.detector.model.named_parameters() if p.grad is None} == unread
    assert {name for name, p in module.detector.model.named_parameters() if not p.requires_grad} == unread


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_hf13_half_precision_outputs_are_matched_and_scored_in_float32(dtype, monkeypatch):
    """Query 1 is exactly right and sure of it; query 0 sits elsewhere and knows nothing."""
    boxes = torch.tensor([[[0.125, 0.125, 0.125, 0.125], [0.5, 0.5, 0.25, 0.25]]], dtype=dtype)
    logits = torch.tensor([[[-20.0, -20.0], [20.0, -20.0]]], dtype=dtype)
    wanted = torch.tensor([[0.5, 0.5, 0.25, 0.25]])
    targets = [{"class_labels": torch.tensor([0]), "boxes": wanted.to(dtype)}]
    outputs = {"logits": logits, "pred_boxes": boxes, "label_maps": (torch.tensor([[1.0, 0.0]], dtype=dtype),)}
    matcher = GroundingDinoHungarianMatcher(class_cost=2.0, bbox_cost=5.0, giou_cost=2.0)
    with pytest.raises(NotImplementedError, match="cdist"):
        matcher(outputs, targets)
    if dtype == torch.float16:  # where cdist exists: 1e-8 is 0 there, a sure query costs infinity, the last choice
        exact = torch.cdist
        monkeypatch.setattr(torch, "cdist", lambda a, b, p: exact(a.float(), b.float(), p=p).to(a.dtype))
        assert [query.tolist() for query, _ in matcher(outputs, targets)] == [[0]]
        monkeypatch.undo()

    truth = Truth(wanted, torch.tensor([[True, False]]), torch.ones(2, dtype=torch.bool))
    losses = SetCriterion()(logits[None], boxes[None], [truth])
    assert losses.total.dtype == losses.stages.dtype == torch.float32
    assert losses.stages.tolist() == [pytest.approx([0.0, 0.0, 0.0], abs=1e-5)]


class OnDevice(torch.Tensor):
    """A tensor that plays one of a GPU: it counts how often the host has to wait for it."""

    READS = frozenset(
        {"cpu", "item", "tolist", "numpy", "nonzero", "masked_select", "__bool__", "__float__", "__int__"}
    )
    reads = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        name = getattr(func, "__name__", "")
        by_mask = name == "__getitem__" and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool
        OnDevice.reads += by_mask or name in cls.READS
        return result.as_subclass(torch.Tensor) if name == "cpu" else result


def test_hf15_all_stages_are_matched_with_one_transfer_to_the_host(prompt, monkeypatch):
    stages, tokens = 7, len(prompt.input_ids)  # the published models: the encoder and six decoder layers
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(stages, 1, 6, tokens, generator=generator).as_subclass(OnDevice)
    boxes = (torch.rand(stages, 1, 6, 4, generator=generator) * 0.4 + 0.1).as_subclass(OnDevice)
    matcher = GroundingDinoHungarianMatcher(class_cost=2.0, bbox_cost=5.0, giou_cost=2.0)
    targets = [{"class_labels": CLASSES, "boxes": BOXES.as_subclass(OnDevice)}]
    monkeypatch.setattr(OnDevice, "reads", 0)
    for stage in range(stages):
        maps = (prompt.phrase_map.float(),)
        matcher({"logits": logits[stage], "pred_boxes": boxes[stage], "label_maps": maps}, targets)
    assert OnDevice.reads >= stages  # each stage's costs, and checks of its boxes

    OnDevice.reads = 0
    (truth,) = our_truths(prompt)
    moved = Truth(*(value.as_subclass(OnDevice) for value in (truth.boxes, truth.token_map, truth.text_mask)))
    losses = SetCriterion()(logits, boxes, [moved])
    assert OnDevice.reads == 1
    plain = SetCriterion()(logits.as_subclass(torch.Tensor), boxes.as_subclass(torch.Tensor), [truth])
    assert torch.equal(losses.stages.as_subclass(torch.Tensor), plain.stages)


def first_deltas(model: torch.nn.Module) -> list[torch.Tensor]:
    """Collects what the first decoder layer's box heads give in the forward passes to come."""
    deltas: list[torch.Tensor] = []
    for head in (model.bbox_embed[0], model.model.decoder.bbox_embed[0]):
        head.register_forward_hook(lambda module, args, output: deltas.append(output))
    return deltas


def reaches(boxes: torch.Tensor, deltas: list[torch.Tensor]) -> bool:
    return any(g is not None and g.any() for g in torch.autograd.grad(boxes.sum(), deltas, allow_unused=True))


def test_hf16_look_forward_twice_teaches_a_layer_by_the_next_ones_boxes(prompt):
    theirs = random_nano()
    theirs.config.auxiliary_loss = True
    deltas = first_deltas(theirs)
    second_layer = their_forward(theirs).auxiliary_outputs[1]["pred_boxes"]
    assert not reaches(second_layer, deltas)
    assert not [
        key for key in GroundingDinoConfig().to_dict() if "look_forward" in key or "denois" in key or "dn_" in key
    ]

    for switch in (False, True):
        model = random_nano()
        deltas = first_deltas(model)
        boxes = GroundingDetector(model, Switches(look_forward_twice=switch))(*picture(), prompt).boxes
        assert reaches(boxes[2], deltas) is switch  # the encoder's stage is the first of them


def test_hf16_denoising_queries_run_beside_the_pictures_own_and_leave_them_alone(detector, prompt):
    inputs = inspect.signature(GroundingDinoForObjectDetection.forward).parameters
    assert not {"self_attn_mask", "reference_points", "query_embeds", "inputs_embeds", "extra"} & set(inputs)

    tokens = len(prompt.input_ids)
    weights = prompt.phrase_map[CLASSES].float()[None]
    extra = ExtraQueries(weights / weights.sum(-1, keepdim=True), BOXES[None], torch.zeros(1, 2, dtype=torch.long))
    alone, together = detector(*picture(), prompt), detector(*picture(), prompt, extra)
    assert together.extra_logits.shape == (3, 1, 2, tokens)
    assert together.extra_boxes.shape == (3, 1, 2, 4)
    assert torch.allclose(together.boxes, alone.boxes, atol=1e-6)
    assert torch.allclose(together.logits, alone.logits, atol=1e-5 * float(alone.logits.detach().abs().max()))
    together.extra_boxes.sum().backward()
    assert {"backbone", "encoder", "decoder"} <= taught(detector.model)

    phrases = list(prompt.phrases)
    without, with_them = (
        GroundingDinoModule(phrases, weights="nano-random", denoising_queries=number) for number in (0, 8)
    )
    parts = []
    for module in (without, with_them):
        asked = module.questioner.for_training(picture_of(CLASSES.tolist()), seed=0, epoch=0)
        parts.append(module.objective(module.detector, asked).parts)
    assert "dn" not in parts[0]
    assert parts[1]["dn"] > 0
