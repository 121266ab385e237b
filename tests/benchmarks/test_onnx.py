"""The comparison of exported graphs with torch."""

import json
from functools import partial

import pytest
import torch
from tiny_detectors import tiny

from benchmarks import onnx
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import Pretrained

WORD_WIDTH, BERT_WORDS, PARAMETERS_M = 768, 30522, 172  # of IDEA-Research/grounding-dino-tiny


@pytest.mark.slow
def test_a_row_is_measured_printed_and_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(onnx, "load_pretrained", lambda _: Pretrained(tiny("grounding-dino"), nano_tokenizer()))
    monkeypatch.setattr(onnx, "export_onnx", partial(onnx.export_onnx, dynamic_batch=False))  # a quarter of the time
    threads = torch.get_num_threads()
    words = ["--canvas=64x96", "--repeats=3", f"--output={tmp_path / 'onnx.md'}"]
    assert onnx.main([*words, f"--threads={threads}"]) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == head.count("|") - 1
    assert cells[:3] == ["nano", "64x96", "1"]
    assert row in (tmp_path / "onnx.md").read_text()
    written = json.loads((tmp_path / "onnx.json").read_text())
    assert written["settings"]["threads"] == threads
    (numbers,) = written["rows"]
    assert 0 < numbers["difference"] < 1e-4
    assert float(cells[5]) == pytest.approx(numbers["torch_ms"] / numbers["onnxruntime_ms"], abs=0.01)


def test_the_two_take_turns_and_the_first_round_is_not_counted():
    turns: list[str] = []
    onnx._take_turns(lambda: turns.append("torch"), lambda: turns.append("onnxruntime"), repeats=2)
    assert turns == ["torch", "onnxruntime"] * 3


@pytest.mark.slow
def test_the_full_size_is_that_of_the_published_model():
    loaded = onnx.swin_t()
    own = loaded.tokenizer.get_vocab_size()
    assert loaded.model.config.text_config.vocab_size == own
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters()) + WORD_WIDTH * (BERT_WORDS - own)
    assert round(parameters / 1e6) == PARAMETERS_M


@pytest.mark.parametrize("canvas", ["640", "640x", "x480", "0x64", "64x64x64"])
def test_a_canvas_that_is_none_is_refused(canvas, capsys):
    with pytest.raises(SystemExit) as stopped:
        onnx.main([f"--canvas={canvas}"])
    assert stopped.value.code == 2
    assert "--canvas" in capsys.readouterr().err
