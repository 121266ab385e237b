import json

import pytest
import torch
from torch import nn

from benchmarks import _full_size, train_step
from benchmarks._steps import TRIED, Settings, matrix_rate, our_steps, plain_steps
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.export import export_hf
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The miniature and a few pictures, for the loops alone."""
    folder = tmp_path_factory.mktemp("steps")
    export_hf(Pretrained(random_nano(), nano_tokenizer()), folder / "weights", source="random")
    for split in ("train", "test"):
        _full_size.draw_split(folder / "data" / split, [(128, 96)] * 4)
    return folder


@pytest.mark.parametrize("way", ["tutorial", "loop", "ours"])
def test_every_way_takes_its_steps_and_tells_their_parts(drawn, way):
    settings = Settings(way, str(drawn / "weights"), str(drawn / "data"), 96, 128, steps=2, count=True)
    found = (our_steps if way == "ours" else plain_steps)(settings).found()
    assert len(found["seconds"]) == 2
    assert set(train_step.PARTS) == set(found["parts"])
    whole = sum(found["seconds"]) / 2
    assert 0.5 * whole <= sum(found["parts"].values()) <= 1.05 * whole
    assert found["flops"] > 1e8
    assert found["peak_mb"] > 100


def test_frozen_parts_and_fusion_in_another_order_need_fewer_products(drawn):
    def flops(way: str, **keys: object) -> float:
        settings = Settings(
            way, str(drawn / "weights"), str(drawn / "data"), 96, 128, steps=1, count=True, data={"canvas_multiple": 32}
        )
        settings = Settings(**{**vars(settings), **keys})
        return (our_steps if way == "ours" else plain_steps)(settings).found()["flops"]

    ours = flops("ours")
    assert ours < flops("loop")
    assert flops("ours", model={"freeze": ["text_encoder", "backbone"]}) < ours
    assert flops("ours", model={"gradient_checkpointing": True}) > ours


def test_the_matrix_rate_is_that_of_the_precision(monkeypatch):
    monkeypatch.setattr("benchmarks._steps.RATE_SIDE", 256)
    asked: list[torch.dtype] = []
    drawn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, dtype, device: asked.append(dtype) or drawn(*size, dtype=dtype))
    for precision in ("32-true", "bf16-mixed"):
        assert matrix_rate(Settings("ours", "", "", 1, 1, steps=1, precision=precision), repeats=2) > 0
    assert asked == [torch.float32, torch.bfloat16]


def test_rows_are_printed_and_kept(capsys, tmp_path, monkeypatch):
    """With the miniature: the full size takes minutes."""
    monkeypatch.setattr(train_step, "full_size", lambda: Pretrained(random_nano(), nano_tokenizer()))
    monkeypatch.setattr("benchmarks._steps.RATE_SIDE", 256)
    monkeypatch.setattr(train_step, "SIZE", (64, 96))
    kept = train_step.ways
    monkeypatch.setattr(
        train_step, "ways", lambda *keys: [each for each in kept(*keys) if each.name[:2] in ("b:", "c:")]
    )
    for way in train_step.ways("cpu", 2):
        assert way.pictures == 2
    output = tmp_path / "steps.json"
    assert train_step.main(["--steps=1", "--repeats=1", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert "| b: plain loop over transformers |" in printed
    assert "| c: ours, as b |" in printed
    found = json.loads(output.read_text())["ways"]
    assert found["c: ours, as b"]["gflops"] < found["b: plain loop over transformers"]["gflops"]
    assert found["c: ours, as b"]["parts"]["backward"] > 0


def test_what_was_tried_stands_beside_the_rows_it_would_change():
    rows = train_step.tried(train_step.ways("cpu", 2))
    assert [row.name[:1] for row in rows] == [*"cccc", *"dddd"]
    assert [row.settings["tried"] for row in rows] == 2 * [None, *TRIED]
    precisions = {row.name[:1]: row.settings.get("precision", "32-true") for row in rows}
    assert precisions == {"c": "32-true", "d": "bf16-mixed"}


def test_what_is_tried_changes_the_detector():
    changed = {name: GroundingDetector(random_nano()) for name in TRIED}
    for name, detector in changed.items():
        TRIED[name](detector)
    patches = next(part for part in changed["channels-last"].modules() if isinstance(part, nn.Conv2d))
    assert patches.weight.is_contiguous(memory_format=torch.channels_last)
    assert not patches.weight.is_contiguous()
    compiled = {
        name: {owner for owner, module in detector.named_modules() if module._compiled_call_impl}
        for name, detector in changed.items()
    }
    assert compiled["channels-last"] == set()
    assert compiled["compiled backbone"] == {"model.model.backbone.conv_encoder.model"}
    layers = range(len(changed["compiled fusion layers"].model.model.encoder.layers))
    assert compiled["compiled fusion layers"] == {f"model.model.encoder.layers.{i}.fusion_layer" for i in layers}


def test_the_large_rows_are_those_with_gradient_checkpointing():
    rows = train_step.large(train_step.ways("cpu", 3))
    assert [row.settings["precision"] for row in rows] == ["32-true", "bf16-mixed"]
    for row in rows:
        assert row.settings["model"] == {"gradient_checkpointing": True}
        assert (row.size, row.pictures) == (train_step.LARGE, 3)
