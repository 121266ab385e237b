"""Captions from a file beside the table through data module, Trainer and criterion to detections."""

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from gdino_lightning.boxes import cxcywh_norm_to_xyxy_px, cxcywh_to_xyxy, pairwise_iou
from gdino_lightning.data.batch import Batch
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.pictures import Picture, read_split
from gdino_lightning.errors import PromptError
from gdino_lightning.prompt import Caption, PromptBatch, build_caption_prompt
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.module import GroundingDinoModule

PHRASES = ["with_mask", "without_mask", "mask_weared_incorrect"]
TOLD = Caption("a face behind a mask. the hat is red", (((0, 6),), ((22, 29),), ((14, 20),)))


def quiet(**settings) -> Trainer:
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", use_distributed_sampler=False, limit_val_batches=0, **off, **settings)


def data(root: Path, classes: list[str], **settings) -> DetectionDataModule:
    sizes = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32}
    return DetectionDataModule(
        str(root), classes, num_workers=0, val="test", augmentation=None, **{**sizes, "batch_size": 4, **settings}
    )


def crowded(root: Path) -> list[Picture]:
    """Training pictures that have more boxes than their captions will have."""
    return [picture for picture in read_split(root / "train") if len(picture.labels) >= 3][:3]


@pytest.fixture
def told(drawn, tmp_path) -> Path:
    """The drawn dataset with a caption for three pictures: two faces, the first one a mask, too, and no hat."""
    root = shutil.copytree(drawn, tmp_path / "told")
    lines = []
    for picture in crowded(root):
        boxes = picture.boxes_px[:2].tolist()
        phrases = [
            {"spans": spans, "boxes": own} for spans, own in zip(TOLD.spans, (boxes, [], boxes[:1]), strict=True)
        ]
        lines.append({"image_name": picture.name, "caption": TOLD.text, "phrases": phrases})
    (root / "train" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


def test_captions_reach_the_criterion_beside_the_class_lists(told):
    module = GroundingDinoModule(PHRASES, denoising_queries=4)
    truths: list[Truth] = []
    module.objective.criterion.register_forward_pre_hook(lambda _, inputs: truths.extend(inputs[2]))
    fit = quiet(max_epochs=1)
    fit.fit(module, data(told, PHRASES))
    assert math.isfinite(fit.callback_metrics["train/loss"])
    assert len(truths) == 16 + 3
    pieces = module.tokenizer.encode(TOLD.text)
    face, mask = (
        [
            token
            for token, (start, end) in zip(pieces.tokens, pieces.offsets, strict=True)
            if first <= start < end <= last
        ]
        for ((first, last),) in (TOLD.spans[0], TOLD.spans[2])
    )
    for picture in crowded(told):
        wanted = torch.from_numpy(picture.boxes_px[:2]) / torch.tensor([picture.width, picture.height] * 2)
        (own,) = [truth for truth in truths if len(truth.boxes) == 2 and torch.allclose(corners(truth), wanted)]
        words = [[pieces.tokens[i] for i in row.nonzero().flatten().tolist()] for row in own.token_map]
        assert words == [[*face, *mask], face]
        assert own.text_mask.sum() == len(pieces.tokens) + 1  # a stop is added at the end


def corners(truth: Truth) -> torch.Tensor:
    return cxcywh_to_xyxy(truth.boxes)


def test_a_caption_is_detected_by_its_phrases(drawn):
    module = GroundingDinoModule(PHRASES).eval()
    pictures = data(drawn, PHRASES)
    pictures.setup("test")
    batch = next(iter(pictures.test_dataloader()))
    with torch.no_grad():
        found = module.detect(batch, prompts=[build_caption_prompt(TOLD, module.tokenizer)])
    assert len(found) == len(batch.targets)
    assert {label for each in found for label in each.labels.tolist()} == {0, 1, 2}


def test_a_caption_that_is_too_long_ends_a_fit_before_its_first_step(told):
    path = told / "train" / "captions.jsonl"
    *first, last = path.read_text().splitlines()
    path.write_text("\n".join([*first, json.dumps({**json.loads(last), "caption": TOLD.text + " mask" * 300})]))
    module, fit = GroundingDinoModule(PHRASES), quiet(max_epochs=1)
    before = module.detector.model.model.enc_output.weight.clone()
    with pytest.raises(PromptError, match="tokens, a prompt holds 256"):
        fit.fit(module, data(told, PHRASES))
    assert fit.global_step == 0
    assert torch.equal(module.detector.model.model.enc_output.weight, before)


SCENES = [
    ("red circle", "blue square"),
    ("blue circle", "red square"),
    ("green square", "red circle"),
    ("blue square", "green circle"),
]
BGR = {"red": (0, 0, 220), "blue": (220, 60, 0), "green": (0, 180, 0)}


def draw_scenes(root: Path) -> Path:
    """Four pictures of 64x64 px with two things each, told by their colours and shapes alone."""
    lines = []
    for split, count in (("train", len(SCENES)), ("test", 1)):
        (root / split / "images").mkdir(parents=True)
        table = [",".join(COLUMNS), "circle,4,8,24,28,p0.png,64,64"]
        (root / split / "annotations.csv").write_text("\n".join(table))
        for number in range(count):
            pixels = np.full((64, 64, 3), 200, np.uint8)
            boxes = [thing(pixels, name, 4 + 32 * i, 8 + 6 * number) for i, name in enumerate(SCENES[number])]
            cv2.imwrite(str(root / split / "images" / f"p{number}.png"), pixels)
            text = "a {} left of a {}".format(*SCENES[number])
            starts = [text.index(name) for name in SCENES[number]]
            names = zip(starts, SCENES[number], boxes, strict=True)
            phrases = [{"spans": [[start, start + len(name)]], "boxes": [box]} for start, name, box in names]
            lines.append({"image_name": f"p{number}.png", "caption": text, "phrases": phrases})
    (root / "train" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines[: len(SCENES)])))
    return root


def thing(pixels: np.ndarray, name: str, left: int, top: int) -> list[int]:
    color, shape = name.split()
    if shape == "circle":
        cv2.circle(pixels, (left + 10, top + 10), 10, BGR[color], -1)
    else:
        cv2.rectangle(pixels, (left, top), (left + 20, top + 20), BGR[color], -1)
    return [left, top, left + 21, top + 21]


@pytest.mark.slow
def test_captions_are_learned(tmp_path):
    """Each phrase's best box is its own thing's: colour and shape are in the words alone."""
    learning = {"learning_rate": 2e-3, "freeze": [], "lr_multipliers": {}, "warmup_steps": 20}
    seed_everything(0)
    module = GroundingDinoModule(["circle"], schedule="cosine", **learning)
    pictures = data(draw_scenes(tmp_path), ["circle"], cache=True, batch_size=5)
    quiet(max_epochs=320, gradient_clip_val=0.1).fit(module, pictures)
    (batch,) = pictures.train_dataloader()
    told = [number for number, target in enumerate(batch.targets) if target.caption]
    targets = [batch.targets[number] for number in told]
    prompts = PromptBatch.of([build_caption_prompt(target.caption, module.tokenizer) for target in targets])
    with torch.no_grad():
        found = module.eval().detect(Batch(batch.pixels[told], batch.pixel_mask[told], targets), [prompts])
    assert len(found) == len(SCENES)
    for target, each in zip(targets, found, strict=True):
        wanted = cxcywh_norm_to_xyxy_px(target.boxes, 64, 64)
        for phrase in range(2):
            best = each.select(each.labels == phrase)
            assert best.scores[0] > 0.5
            overlap = pairwise_iou(best.boxes[:1], wanted[target.labels == phrase])
            assert overlap.item() > 0.7, (target.caption.text, phrase)
