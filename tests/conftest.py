"""Shared fixtures: a prompt, the miniature, and a small prepared dataset."""

from pathlib import Path

import pytest
import ranks
import torch

from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.prompt import Prompt, build_prompt

pytest_plugins = ["pytester", "skip_guard"]

PHRASES = {
    "with_mask": "with mask",
    "without_mask": "without mask",
    "mask_weared_incorrect": "mask worn incorrectly",
}


@pytest.fixture
def prompt() -> Prompt:
    return build_prompt(list(PHRASES.values()), nano_tokenizer())


@pytest.fixture
def detector() -> GroundingDetector:
    """The miniature with every weight moved off its initial value, so that no path is silent."""
    model = random_nano(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return GroundingDetector(model).eval()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared sample dataset: 24 pictures, 16 of them to train."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(folder / "source", num_images=24, progress=False)
    prepare(folder / "source", folder / "data", num_train=16, progress=False)
    return folder / "data"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared drawn world: 20 scenes, 12 of them in train/."""
    folder = tmp_path_factory.mktemp("world")
    draw_sample(folder / "source", num_images=20, seed=1, subject="world", progress=False)
    prepare(folder / "source", folder / "data", num_train=12, progress=False)
    return folder / "data"


@pytest.fixture
def free_port() -> int:
    """A TCP port that nobody listens on."""
    return ranks.free_port()
