"""Grounding DINO at its full size (Swin-T) with random weights, and pictures to time it on: for speed they do."""

from pathlib import Path

import cv2
import numpy as np
import torch
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from gdino_lightning.data.table import IMAGES_FOLDER, TABLE_NAME, Row, write_table
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained

CLASSES = ("with_mask", "without_mask", "mask_weared_incorrect")
PHRASES = ("with mask", "without mask", "mask worn incorrectly")

COLOURS = ("red", "green", "blue", "black", "white")


def further_phrases(count: int) -> dict[str, str]:
    """Classes that no picture shows, of two words each, some four tokens."""
    return {f"further_{number}": f"{COLOURS[number % len(COLOURS)]} thing {number}" for number in range(count)}


def full_size() -> Pretrained:
    """Draw weights of the published Swin-T shape, without dropout, as fine-tuning recipes have it."""
    torch.manual_seed(0)
    swin = SwinConfig(  # type: ignore[call-arg]  # out_indices is a property there, and accepted
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_indices=[2, 3, 4]
    )
    config = GroundingDinoConfig(backbone_config=swin, text_config=BertConfig(), dropout=0.0)
    return Pretrained(GroundingDinoForObjectDetection(config), nano_tokenizer())


def draw_split(folder: Path, sizes: list[tuple[int, int]], boxes: int = 6) -> None:
    """Draw a split of smooth noise, a picture for each (width, height) px, with boxes of all classes in turn."""
    (folder / IMAGES_FOLDER).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number, (width, height) in enumerate(sizes):
        name = f"{number:05}.png"  # decoders of JPEG differ
        coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / IMAGES_FOLDER / name), smooth)
        for box in range(boxes):
            x, y = rng.uniform(0, 0.7, 2) * (width, height)
            w, h = rng.uniform(0.05, 0.3, 2) * (width, height)
            corners = (float(x), float(y), float(x + w), float(y + h))
            rows.append(Row(CLASSES[box % len(CLASSES)], corners, name, width, height))
    (folder / TABLE_NAME).write_bytes(write_table(rows))
