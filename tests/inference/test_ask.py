"""Many prompts about the same pictures: what is asked together equals what is asked alone and sorted by hand."""

import pytest
import torch
from pictures import pictures as float_pictures
from pictures import relative_error

from gdino_lightning.boxes import cxcywh_norm_to_xyxy_px
from gdino_lightning.inference.ask import Asker
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Caption, PromptBatch, Vocabulary, build_caption_prompt

SIZES = [(128, 96), (100, 70)]
THINGS = Vocabulary(["cat", "St. Bernard", "red bird", "fish", "without mask", "with mask"], nano_tokenizer())
PROMPTS = [THINGS.prompt([4, 1]), THINGS.prompt([0, 5, 3]), THINGS.prompt([2])]
CAPTION = build_caption_prompt(Caption("a cat and a fish", (((0, 5),), ((10, 16),))), nano_tokenizer())

Found = list[tuple[float, int, tuple[float, ...]]]  # score, label, box


@pytest.fixture
def detector(detector) -> GroundingDetector:
    """In float64: in float32 a batch of two rounds unlike a batch of one, and near-tied proposals may swap places."""
    return detector.double()


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    return float_pictures(dtype=torch.float64)


def everything(detector: GroundingDetector, prompts=PROMPTS, how: str = "mean") -> list[Found]:
    """For each picture all (query, phrase) pairs of all prompts by plain loops, best first."""
    pixels, mask = pictures()
    found: list[Found] = [[] for _ in SIZES]
    for prompt in prompts:
        with torch.no_grad():
            outputs = detector(pixels, mask, prompt)
        for b, (width, height) in enumerate(SIZES):
            corners = cxcywh_norm_to_xyxy_px(outputs.final_boxes[b], width, height).tolist()
            for label, row in zip(prompt.classes, prompt.phrase_map, strict=True):
                own = outputs.final_logits[b][:, row].sigmoid()
                scores = own.mean(1) if how == "mean" else own.amax(1)
                for score, (x1, y1, x2, y2) in zip(scores.tolist(), corners, strict=True):
                    box = (max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
                    found[b].append((score, label, box))
    return [sorted(each, key=lambda one: -one[0]) for each in found]


def detect(detector: GroundingDetector, prompts=PROMPTS, **settings) -> list[Detections]:
    with torch.no_grad():
        return Asker(**settings).detect(detector, *pictures(), prompts, SIZES)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_prompts_asked_together_equal_each_asked_alone_and_sorted(detector, how):
    for found, wanted in zip(detect(detector, top_k=40, token_score=how), everything(detector, how=how), strict=True):
        assert len(found) == 40
        assert found.scores.tolist() == pytest.approx([score for score, _, _ in wanted[:40]], rel=1e-5)
        assert found.labels.tolist() == [label for _, label, _ in wanted[:40]]
        assert found.boxes.tolist() == [pytest.approx(box, abs=1e-2) for _, _, box in wanted[:40]]


def test_every_query_answers_for_every_class_of_every_prompt(detector):
    queries = detector.model.config.num_queries
    for found in detect(detector, top_k=10_000):
        assert found.labels.bincount().tolist() == [queries] * 6


def test_the_order_of_prompts_changes_nothing(detector):
    for one, other in zip(detect(detector), detect(detector, PROMPTS[::-1]), strict=True):
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.boxes, other.boxes)


def test_pictures_are_encoded_once_for_all_prompts(detector):
    sizes: list[int] = []
    detector.model.model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    detect(detector)
    assert sizes == [2]


def test_a_prompt_for_each_picture_equals_the_picture_alone_with_its_own(detector):
    pixels, mask = pictures()
    together = detect(detector, [PromptBatch.of([CAPTION, PROMPTS[1]])], top_k=30)
    for b, prompt in enumerate((CAPTION, PROMPTS[1])):
        with torch.no_grad():
            one = slice(b, b + 1)
            (alone,) = Asker(top_k=30).detect(detector, pixels[one], mask[one], [prompt], [SIZES[b]])
        assert together[b].labels.tolist() == alone.labels.tolist()
        assert relative_error(together[b].scores, alone.scores) <= 1e-5
        assert relative_error(together[b].boxes, alone.boxes) <= 1e-5
    assert set(together[0].labels.tolist()) == {0, 1}  # the phrases of the caption
    assert set(together[1].labels.tolist()) <= {0, 3, 5}


def test_a_phrase_of_a_caption_is_scored_by_its_own_words(detector):
    found = detect(detector, [CAPTION], top_k=20)[0]
    wanted = everything(detector, [CAPTION])[0][:20]
    assert found.labels.tolist() == [label for _, label, _ in wanted]
    assert found.scores.tolist() == pytest.approx([score for score, _, _ in wanted], rel=1e-5)
