"""One step of the full-size architecture (Swin-T, BERT base, random weights) with configs/facemask.yaml, on the CPU."""

import csv
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    PreTrainedTokenizerFast,
    SwinConfig,
)

from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import STATE_PREFIX, read_checkpoint

CONFIG = Path(__file__).parents[1] / "configs" / "facemask.yaml"
SHARED = Path(__file__).parents[2] / "shared"
VOCABULARY = SHARED / "data" / "bert-base-uncased" / "vocab.txt"
MEMORY_GB = 12
PARAMETERS_M = 172  # of IDEA-Research/grounding-dino-tiny, 23 of them in the table of its 30,522 words
WORDS, WORD_WIDTH = 30522, 768

pytestmark = pytest.mark.slow


@dataclass
class Stepped:
    """One step of training: where it started, and what it left."""

    weights: Path
    run: Path
    parameters: int
    peak_gb: float


def real_words() -> PreTrainedTokenizerFast:
    return BertTokenizerFast(str(VOCABULARY), do_lower_case=True)


def nano_words() -> PreTrainedTokenizerFast:
    tokenizer: Tokenizer = nano_tokenizer()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def write_random_weights(folder: Path, words: PreTrainedTokenizerFast) -> int:
    """Write a Hugging Face folder of IDEA-Research/grounding-dino-tiny's shape.

    Returns the number of parameters it would have with the vocabulary of BERT.
    """
    swin = SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_indices=[2, 3, 4])
    config = GroundingDinoConfig(backbone_config=swin)
    config.text_config.vocab_size = len(words)
    torch.manual_seed(0)
    model = GroundingDinoForObjectDetection(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters()) + WORD_WIDTH * (WORDS - len(words))


def fit_one_step(home: Path, weights: Path, data: Path) -> float:
    """Run `fit` in a process of its own and return its peak memory in GB."""
    settings = {
        "model.weights": weights,
        "model.warmup_steps": 0,
        "data.root": data,
        "data.batch_size": 1,
        "data.eval_batch_size": 1,
        "data.num_workers": 0,
        "data.short_side": 320,
        "data.long_side_max": 533,
        "data.train_short_sides": "null",
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": 1,
        "trainer.limit_val_batches": 1,
        "trainer.num_sanity_val_steps": 0,
        "trainer.accumulate_grad_batches": 1,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
    }
    command = [sys.executable, "-m", "gdino_lightning", "fit", f"--config={CONFIG}"]
    with (home / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            [*command, *(f"--{key}={value}" for key, value in settings.items())],
            cwd=home,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (home / "printed.txt").read_text()[-3000:]
    return used.ru_maxrss * 1024 / 1e9


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            real_words,
            marks=[
                pytest.mark.shared,
                pytest.mark.skipif(not VOCABULARY.exists(), reason="the shared data folder is not there"),
            ],
            id="real-vocabulary",
        ),
        pytest.param(nano_words, id="nano-vocabulary"),
    ],
)
def stepped(request, drawn, tmp_path_factory) -> Iterator[Stepped]:
    """Some 4 GB of files, removed afterwards."""
    home = tmp_path_factory.mktemp("full")
    parameters = write_random_weights(home / "weights", request.param())
    peak_gb = fit_one_step(home, home / "weights", drawn)
    yield Stepped(home / "weights", home / "runs" / "facemask", parameters, peak_gb)
    shutil.rmtree(home)


def test_one_step_of_the_real_configuration(stepped):
    """Losses, weights and memory."""
    assert round(stepped.parameters / 1e6) == PARAMETERS_M
    with (stepped.run / "metrics.csv").open() as file:
        losses = {key: float(v) for row in csv.DictReader(file) for key, v in row.items() if "loss" in key and v}
    assert {"train/loss", "train/loss_ce", "train/loss_bbox", "train/loss_giou", "val/loss"} <= losses.keys()
    assert all(math.isfinite(value) and value > 0 for value in losses.values())
    moved = moved_parts(stepped)
    assert {"model.backbone", "model.encoder", "model.decoder", "model.enc_output"} <= moved
    assert "model.text_backbone" not in moved  # frozen by the configuration
    assert stepped.peak_gb <= MEMORY_GB


def moved_parts(stepped: Stepped) -> set[str]:
    """The submodules of which a weight changed."""
    before = GroundingDinoForObjectDetection.from_pretrained(stepped.weights).state_dict()
    after = read_checkpoint(stepped.run / "checkpoints" / "last.ckpt")["state_dict"]
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[STATE_PREFIX + name])}
    return {".".join(name.split(".")[:2]) for name in moved}
