"""`gdino fit --help`: every key, in little room."""

import inspect

import pytest

from gdino_lightning.cli import LIGHTNING_VERBS, main
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.training.callbacks import Reference
from gdino_lightning.training.module import GroundingDinoModule

MAX_LINES, MAX_COLUMNS = 160, 150
LINKED = {"--data.phrases"}  # follows model.phrases and cannot be given
OWNERS = {"model": GroundingDinoModule, "data": DetectionDataModule, "reference": Reference}


@pytest.mark.parametrize("verb", LIGHTNING_VERBS)
def test_help_lists_every_key_in_little_room(verb, capsys):
    assert main([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < MAX_LINES
    assert max(map(len, lines)) <= MAX_COLUMNS
    for prefix, owner in OWNERS.items():
        listed = {line.split()[0] for line in lines if line.startswith(f"  --{prefix}.")}
        keys = {f"--{prefix}.{name}" for name in list(inspect.signature(owner.__init__).parameters)[1:]}
        assert listed == keys - LINKED
    assert any(line.startswith("  --ckpt_path") for line in lines)
    assert any(line.startswith("  --protocol") for line in lines) == (verb == "test")


def test_defaults_and_texts_are_those_of_the_code(capsys):
    assert main(["fit", "-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[
        lines.index("  --data.root (required)") + 1
    ].strip() == "folder with `train/` and `test/`, made from " + ("`source` where it is missing.")
    assert "  --model.learning_rate (default 0.0001)" in lines
    assert "  --model.top_k (default 300)" in lines
