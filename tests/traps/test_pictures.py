"""The traps of transformers' pictures and targets: HF2, HF5, HF14, HF17.

Each test shows the trap in the installed transformers first, then that the same input is right here.
"""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

from gdino_lightning.data.batch import Request
from gdino_lightning.data.canvas import Sizing, normalise_on_canvas
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.table import read_table
from gdino_lightning.errors import DatasetError
from gdino_lightning.model.nano import nano_config, random_nano
from gdino_lightning.training.criterion import SetCriterion
from gdino_lightning.training.matcher import Truth
from gdino_lightning.training.module import GroundingDinoModule
from tests.traps.theirs import CAPTION, fast_tokenizer, picture, token_ids

WHOLE = [0.5, 0.5, 1.0, 1.0]  # cxcywh_norm of a box that covers its picture


@pytest.fixture
def pictures(tmp_path) -> list[Picture]:
    """301x400 and 400x267 px, each with a box that covers it, and 300x300 px without a box."""
    made = []
    for number, (width, height) in enumerate([(301, 400), (400, 267), (300, 300)]):
        path = tmp_path / f"{number}.png"
        rgb = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(path)
        boxes = np.array([[0, 0, width, height]] if number < 2 else [], np.float32).reshape(-1, 4)
        made.append(Picture(path, width, height, boxes, ("hat",) * len(boxes)))
    return made


def test_hf02_targets_are_relative_to_the_picture_as_the_models_boxes_are(pictures):
    stored = [np.asarray(Image.open(each.path)) for each in pictures[:2]]
    annotations = [
        {"image_id": n, "annotations": [{"bbox": [0, 0, p.width, p.height], "category_id": 0, "area": 1.0}]}
        for n, p in enumerate(pictures[:2])
    ]
    theirs = GroundingDinoImageProcessorPil(do_resize=False)(stored, annotations=annotations, return_tensors="pt")
    shrunk = [labels["boxes"][0, 2:].tolist() for labels in theirs["labels"]]
    assert shrunk == [pytest.approx([301 / 400, 1]), pytest.approx([1, 267 / 400])]
    # with its heads at zero the model answers with its anchors: they fill the picture, not the canvas
    pixels, mask = picture()
    mask[..., 64:] = False
    outputs = random_nano()(
        pixel_values=pixels * mask[:, None], pixel_mask=mask.long(), input_ids=token_ids(CAPTION)[0]
    )
    assert outputs.pred_boxes[..., 0].max() > 0.9

    dataset = DetectionDataset(pictures, ["hat"])
    for index in range(2):
        target = dataset.sample(Request(index, 0, Sizing(128, 213, 32), (192, 192))).target
        assert target.boxes.tolist() == [pytest.approx(WHOLE)]


def test_hf05_dropout_of_the_published_configuration_is_off_in_training(tmp_path, prompt):
    published = GroundingDinoConfig()
    assert (published.dropout, published.text_config.hidden_dropout_prob) == (0.1, 0.1)
    config = nano_config()
    config.dropout = config.text_config.hidden_dropout_prob = config.text_config.attention_probs_dropout_prob = 0.1
    GroundingDinoForObjectDetection(config).save_pretrained(tmp_path)
    fast_tokenizer().save_pretrained(tmp_path)
    pixels, mask = picture()
    theirs = GroundingDinoForObjectDetection.from_pretrained(tmp_path).train()
    ids, _ = token_ids(CAPTION)
    first, second = (theirs(pixel_values=pixels, input_ids=ids).pred_boxes for _ in range(2))
    assert not torch.equal(first, second)

    module = GroundingDinoModule(list(prompt.phrases), weights=str(tmp_path)).train()
    assert module.detector.training
    first, second = (module.detector(pixels, mask, prompt) for _ in range(2))
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(first.logits, second.logits)


def test_hf14_a_picture_without_boxes_trains(pictures, detector, prompt):
    model, (pixels, mask), (ids, _) = detector.model, picture(), token_ids(CAPTION)
    nothing = {"class_labels": torch.tensor([]), "boxes": torch.zeros(0, 4)}
    with pytest.raises(IndexError, match="must be long"):
        model(pixel_values=pixels, input_ids=ids, labels=[nothing])

    target = DetectionDataset(pictures, ["hat"]).sample(Request(2, 0, Sizing(128, 128, 32), (128, 128))).target
    assert target.labels.dtype == torch.int64
    outputs = detector(pixels, mask, prompt)
    truth = Truth(target.boxes, prompt.phrase_map[target.labels], torch.ones(len(prompt.input_ids), dtype=torch.bool))
    losses = SetCriterion()(outputs.logits, outputs.boxes, [truth])
    losses.total.backward()
    assert losses.parts["ce"] > 0
    assert losses.parts["bbox"] == losses.parts["giou"] == 0


def test_hf14_a_box_that_is_not_a_number_is_refused_before_training_by_file_and_line(tmp_path):
    broken = {"class_labels": torch.tensor([0]), "boxes": torch.tensor([[torch.nan, 0.5, 0.2, 0.2]])}
    with pytest.raises(ValueError, match="must be in"):  # in the middle of a run, without the picture's name
        random_nano()(pixel_values=picture()[0], input_ids=token_ids(CAPTION)[0], labels=[broken])

    table = tmp_path / "annotations.csv"
    table.write_text(f"{','.join(COLUMNS)}\nhat,10,10,20,20,0.png,100,100\nhat,10,nan,20,20,1.png,100,100\n")
    with pytest.raises(DatasetError, match=r"annotations\.csv:3: .*bbox_y1.*nan"):
        read_table(table)


def test_hf14_a_picture_with_fewer_tokens_than_queries_is_detected(detector, prompt):
    pixels, mask = picture(side=64)
    tokens = 8 * 8 + 4 * 4 + 2 * 2 + 1
    assert tokens < detector.model.config.num_queries
    with pytest.raises(RuntimeError, match="out of range"):
        detector.model(pixel_values=pixels, input_ids=token_ids(CAPTION)[0])

    outputs = detector(pixels, mask, prompt)
    assert outputs.boxes.shape == (4, 1, tokens, 4)
    assert torch.isfinite(outputs.logits).all()


def test_hf17_pictures_are_prepared_without_torchvision_as_transformers_does(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # whoever imports it gets an ImportError
    stored = [np.asarray(Image.open(each.path)) for each in pictures[:2]]
    theirs = GroundingDinoImageProcessorPil(do_resize=False)(stored, return_tensors="pt")
    assert theirs["pixel_values"].shape == (2, 3, 400, 400)

    for index, rgb in enumerate(stored):
        pixels, mask = normalise_on_canvas(rgb, (400, 400))
        assert torch.equal(mask, theirs["pixel_mask"][index].bool())
        assert (pixels - theirs["pixel_values"][index]).abs().max() <= 1e-5
