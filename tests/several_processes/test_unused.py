"""DDP waits for the gradient of every weight that learns: without a search for unused ones, nothing may be unused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from prepared_factory import write_split
from ranks import TWO, on_ranks

from gdino_lightning.training.module import GroundingDinoModule
from tests.several_processes.test_one_step import CLASSES, QUIET, boxes_of, data_of

CONFIGS = Path(__file__).parents[2] / "configs"
NOT_OF_PARAMETERS = ("weights", "phrases")
MORE: list[dict[str, Any]] = [
    {"lora": {"rank": 2}, "denoising_queries": 4},
    {"freeze": ["backbone", "text_encoder", "encoder"], "negatives": 0},
    {"freeze": ["backbone.layers.0-1", "text_encoder.embeddings"], "gradient_checkpointing": True},
]


def shipped() -> list[dict[str, Any]]:
    """What the configurations say of learning."""
    models = (yaml.safe_load(path.read_text())["model"] for path in sorted(CONFIGS.glob("*.yaml")))
    return [{key: value for key, value in each.items() if key not in NOT_OF_PARAMETERS} for each in models]


class Silent(Callback):
    """The weights that learn and had no gradient in some step, and the boxes of each step."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.boxes: list[int] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.boxes.append(sum(len(target.boxes) for target in batch.targets))

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        learning = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self.names |= {name for name, weight in learning.items() if weight.grad is None}


def _fit(rank: int, root: Path, settings: list[dict[str, Any]]) -> list[tuple[set[str], list[int], torch.Tensor]]:
    found = []
    for each in settings:
        seed_everything(0)
        module = GroundingDinoModule(CLASSES, **{"negatives": 1, **each})
        silent = Silent()
        fit = Trainer(max_epochs=2, limit_val_batches=0, callbacks=[silent], default_root_dir=root, **QUIET, **TWO)
        fit.fit(module, data_of(root, batch_size=1))
        found.append((silent.names, silent.boxes, torch.cat([each.flatten() for each in module.parameters()]).detach()))
    return found


@pytest.mark.slow
def test_every_weight_has_a_gradient_in_every_step_on_both_ranks(tmp_path):
    """Of pictures with and without boxes, with captions and class lists."""
    pictures = {f"{i}.png": boxes_of(count) for i, count in enumerate((0, 3, 0, 9, 0))}
    write_split(tmp_path / "train", pictures)
    write_split(tmp_path / "test", pictures)
    cats = [list(box) for label, box in pictures["1.png"] if label == "cat"]
    caption = {"image_name": "1.png", "caption": "a cat on a mat", "phrases": [{"spans": [[0, 5]], "boxes": cats}]}
    (tmp_path / "train" / "captions.jsonl").write_text(json.dumps(caption))
    settings = shipped() + MORE
    assert len(settings) == 8
    for one, other in zip(*on_ranks(_fit, tmp_path, settings, seconds=400), strict=True):
        assert one[0] == other[0] == set()
        assert len(one[1]) == 6  # five pictures and a caption, on two ranks, twice
        assert 0 in one[1] + other[1]
        assert any(pair[0] == 0 < pair[1] or pair[1] == 0 < pair[0] for pair in zip(one[1], other[1], strict=True))
        assert torch.equal(one[2], other[2])
