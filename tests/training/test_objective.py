"""What a batch costs: sums over pictures, chunks and words worked out another way."""

import math
from collections.abc import Sequence

import pytest
import torch
from pictures import pictures

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.model.features import StageOutputs
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Caption, build_prompt
from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.objective import Objective
from gdino_lightning.training.questions import Questioner

THINGS = ["cat", "no. 1 part", "red bird", "fish", "without mask", "with mask"]
CAPTION = Caption("a man behind two dogs. a red hat", (((0, 5),), ((13, 21),), ((23, 32),)))
LABELS = [[0, 5, 5], [2, 1, 1, 0], [3]]  # the second picture has a caption: phrases, not classes


def batch_of(labels: Sequence[Sequence[int]] = LABELS) -> Batch:
    pixels, mask = pictures(batch=len(labels), height=64, width=96)
    generator = torch.Generator().manual_seed(1)
    targets = [
        Target(
            image_id=number,
            image_path=f"p{number}.png",
            width=96,
            height=64,
            boxes=torch.rand(len(own), 4, generator=generator) * 0.3 + 0.2,
            labels=torch.tensor(own, dtype=torch.int64),
            boxes_px=None,
        )
        for number, own in enumerate(labels)
    ]
    return Batch(pixels, mask, targets)


def with_caption(batch: Batch) -> Batch:
    batch.targets[1].caption = CAPTION
    return batch


def one_of(batch: Batch, number: int) -> Batch:
    one = slice(number, number + 1)
    return Batch(batch.pixels[one], batch.pixel_mask[one], batch.targets[one])


def questioner(max_tokens: int = 256) -> Questioner:
    return Questioner(THINGS, nano_tokenizer(), 1, max_tokens)


def objective(*, special_tokens_negative: bool = True, denoising_queries: int = 0) -> Objective:
    return Objective(
        SetCriterion(), special_tokens_negative=special_tokens_negative, denoising_queries=denoising_queries
    )


@pytest.mark.parametrize("special_tokens_negative", [True, False])
def test_a_batch_with_different_prompts_costs_what_its_pictures_cost_alone(detector, special_tokens_negative):
    """Per box, as the number of boxes normalises."""
    cost = objective(special_tokens_negative=special_tokens_negative)
    batch, by = with_caption(batch_of()), questioner()
    with torch.no_grad():
        together = cost(detector, by.for_training(batch, 0, 0))
        alone = [cost(detector, by.for_training(one_of(batch, number), 0, 0)).stages for number in range(3)]
    counts = [len(labels) for labels in LABELS]
    summed = sum(stages * count for stages, count in zip(alone, counts, strict=True))
    assert torch.allclose(together.stages * sum(counts), summed, rtol=1e-4)


def test_special_tokens_as_negatives_add_exactly_their_focal_loss(detector):
    batch = batch_of([[0, 5, 5], [3]])
    question = questioner().for_evaluation(batch).questions[0]
    with torch.no_grad():
        outputs = detector(batch.pixels, batch.pixel_mask, question.prompts)
        with_specials = objective().score(outputs, question, batch)
        without = objective(special_tokens_negative=False).score(outputs, question, batch)
    tokens = [nano_tokenizer().id_to_token(i) for i in question.prompts.prompts[0].input_ids.tolist()]
    stops = [i for i, token in enumerate(tokens) if token in ("[CLS]", "[SEP]", ".")]
    inner = tokens.index("no") + 1  # the "." of "no. 1 part" is a word
    specials = [i for i in stops if i != inner]
    assert len(specials) == 2 + len(THINGS)
    no = outputs.logits[..., specials].double().sigmoid()
    focal = 0.75 * no**2 * -torch.log1p(-no)
    assert torch.allclose((with_specials.stages - without.stages)[:, 0].double(), focal.sum((1, 2, 3)) / 4, rtol=1e-4)
    assert torch.equal(with_specials.stages[:, 1:], without.stages[:, 1:])  # the same matches


def test_words_alone_cost_what_the_criterion_says_of_their_columns(detector):
    batch = batch_of([[0, 5, 5], [3]])
    question = questioner().for_evaluation(batch).questions[0]
    with torch.no_grad():
        outputs = detector(batch.pixels, batch.pixel_mask, question.prompts)
        got = objective(special_tokens_negative=False).score(outputs, question, batch)
    prompt = question.prompts.prompts[0]
    words = prompt.word_mask.nonzero().flatten()
    truths = [
        Truth(t.boxes, prompt.phrase_map[t.labels][:, words], torch.ones(len(words), dtype=torch.bool))
        for t in batch.targets
    ]
    assert torch.allclose(got.stages, SetCriterion()(outputs.logits[..., words], outputs.boxes, truths).stages)


def test_chunks_cost_what_each_costs_by_its_own_boxes_weighed_by_all(detector):
    batch = batch_of([[0, 5, 5, 2], [3, 1]])
    asked = questioner(max_tokens=10).for_evaluation(batch)
    assert len(asked.questions) >= 3
    for question in asked.questions:
        chunk = question.prompts.prompts[0]
        prompt = build_prompt(chunk.phrases, nano_tokenizer())
        with torch.no_grad():
            outputs = detector(batch.pixels, batch.pixel_mask, prompt)
            got = objective().score(outputs, question, batch)
        truths, count = [], 0
        for t in batch.targets:
            pairs = [(i, chunk.phrases.index(THINGS[c])) for i, c in enumerate(t.labels) if THINGS[c] in chunk.phrases]
            boxes = t.boxes[[box for box, _ in pairs]]
            tokens = prompt.phrase_map[[phrase for _, phrase in pairs]]
            truths.append(Truth(boxes, tokens, torch.ones(len(prompt.input_ids), dtype=torch.bool)))
            count += len(pairs)
        alone = SetCriterion()(outputs.logits, outputs.boxes, truths)
        assert torch.allclose(got.stages, alone.stages * max(count, 1) / 6)
        assert torch.allclose(got.total, alone.total * max(count, 1) / 6)


def test_denoising_adds_its_part_and_changes_no_other(detector):
    asked = questioner().for_training(with_caption(batch_of()), 0, 0)
    with torch.no_grad():
        plain = objective()(detector, asked)
        denoised = objective(denoising_queries=12)(detector, asked)
    assert plain.parts.keys() == {"ce", "bbox", "giou"}
    assert denoised.parts.keys() == {"ce", "bbox", "giou", "dn"}
    for name, value in plain.parts.items():
        assert torch.allclose(denoised.parts[name], value, rtol=1e-4)
    assert denoised.parts["dn"] > 0
    assert torch.allclose(denoised.total, plain.total + denoised.parts["dn"], rtol=1e-4)


def test_without_a_box_nothing_is_denoised(detector):
    with torch.no_grad():
        losses = objective(denoising_queries=12)(detector, questioner().for_training(batch_of([[], []]), 0, 0))
    assert losses.parts.keys() == {"ce", "bbox", "giou", "dn"}  # ranks must log the same names
    assert losses.parts["bbox"] == losses.parts["giou"] == losses.parts["dn"] == 0
    assert math.isfinite(losses.total)


def test_outputs_in_half_precision_cost_what_they_cost_in_single(detector):
    batch = batch_of([[0, 5, 5], [3]])
    question = questioner().for_evaluation(batch).questions[0]
    with torch.no_grad():
        outputs = detector(batch.pixels, batch.pixel_mask, question.prompts)
    half = StageOutputs(outputs.logits.bfloat16(), outputs.boxes.bfloat16())
    single = StageOutputs(half.logits.float(), half.boxes.float())
    with torch.autocast("cpu", torch.bfloat16):
        got = objective().score(half, question, batch)
    wanted = objective().score(single, question, batch)
    assert got.total.dtype == torch.float32
    assert torch.equal(got.stages, wanted.stages)


@pytest.mark.parametrize("denoising_queries", [0, 6])
def test_outputs_that_are_not_finite_name_the_pictures(detector, denoising_queries):
    with torch.no_grad():
        detector.model.model.level_embed.fill_(float("nan"))
    asked = questioner().for_training(batch_of(), 0, 0)
    pictures = r"pictures: p0\.png \(3 boxes\), p1\.png \(4 boxes\), p2\.png \(1 box\)"
    with pytest.raises(FloatingPointError, match=pictures):
        objective(denoising_queries=denoising_queries)(detector, asked)
