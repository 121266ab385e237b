"""Graphs in onnxruntime against the torch detector, asked as it always is."""

import json
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from tiny_detectors import tiny
from torch import nn
from torch.onnx.errors import OnnxExporterError

import gdino_lightning
from gdino_lightning.data.canvas import normalise_on_canvas
from gdino_lightning.data.images import read_rgb
from gdino_lightning.errors import CheckpointError, ConfigError, PromptError
from gdino_lightning.inference.postprocess import phrase_scores
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.model import onnx_export
from gdino_lightning.model.detector import GroundingDetector, Switches, add_static_anchors
from gdino_lightning.model.folder import EvaluationSettings
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.onnx_export import ExportedGraph, export_onnx
from gdino_lightning.model.pretrained import Pretrained
from gdino_lightning.prompt import build_prompt

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
PHRASES = {"worn": "with mask", "none": "without mask", "st": "st. bernard"}
CALIBRATED = {"scores": [0.3, 0.4, 0.5], "nms_ious": [0.5, 0.5, 0.5], "temperature": 1.5}


@dataclass(frozen=True)
class Exported:
    loaded: Pretrained
    graph: ExportedGraph

    def run(self, pixels: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        session = onnxruntime.InferenceSession(self.graph.path, providers=["CPUExecutionProvider"])
        feeds = {"pixels": pixels.numpy(), "pixel_mask": mask.numpy()}
        return [torch.from_numpy(output) for output in session.run(["scores", "boxes"], feeds)]


def drawn_batch(drawn: Path, count: int, canvas: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of the drawn dataset, each smaller than the canvas."""
    paths = sorted((drawn / "train" / "images").iterdir())[:count]
    laid = [normalise_on_canvas(read_rgb(path)[: 90 - 10 * i, : 120 - 20 * i], canvas) for i, path in enumerate(paths)]
    return torch.stack([pixels for pixels, _ in laid]), torch.stack([mask for _, mask in laid])


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    loaded = Pretrained(tiny("grounding-dino"), nano_tokenizer(), PHRASES, None, CALIBRATED)
    (graph,) = export_onnx(loaded, tmp_path_factory.mktemp("graphs"), canvases=[(128, 96)] * 2, progress=False)
    return Exported(loaded, graph)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_one_graph_answers_any_number_of_pictures_as_torch_does(exported, drawn, count):
    pixels, mask = drawn_batch(drawn, count, (128, 96))
    assert not mask.all()
    prompt = build_prompt(list(PHRASES.values()), exported.loaded.tokenizer)
    with torch.no_grad():
        outputs = GroundingDetector(exported.loaded.model).eval()(pixels, mask, prompt)
    scores, boxes = exported.run(pixels, mask)
    expected = phrase_scores(outputs.final_logits, prompt.phrase_map)
    assert scores.shape == (count, 30, len(PHRASES))
    assert expected.std() > 1e-2  # else anything would be near
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(boxes, outputs.final_boxes, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_graph_is_valid_and_says_what_it_takes(exported):
    onnx.checker.check_model(exported.graph.path, full_check=True)
    assert exported.graph.path.name == "128x96.onnx"
    assert exported.graph.dynamic_batch
    assert exported.graph.difference <= 1e-5
    session = onnxruntime.InferenceSession(exported.graph.path)
    count, queries = "batch", 30
    assert {value.name: (value.shape, value.type) for value in session.get_inputs()} == {
        "pixels": ([count, 3, 96, 128], "tensor(float)"),
        "pixel_mask": ([count, 96, 128], "tensor(bool)"),
    }
    assert {value.name: value.shape for value in session.get_outputs()} == {
        "scores": [count, queries, len(PHRASES)],
        "boxes": [count, queries, 4],
    }


@pytest.mark.slow
def test_metadata_tell_all_that_is_needed(exported):
    described = json.loads(exported.graph.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert described == {
        "class_names": list(PHRASES),
        "phrases": list(PHRASES.values()),
        "thresholds": CALIBRATED,
        "token_score": "mean",
        "canvas": [128, 96],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "dynamic_batch": True,
    }
    model = onnx.load(exported.graph.path)
    assert {each.key: json.loads(each.value) for each in model.metadata_props} == described


@pytest.mark.slow
def test_a_graph_holds_neither_the_text_encoder_nor_folders_of_this_machine(exported):
    data = exported.graph.path.read_bytes()
    text = sum(weight.numel() for weight in exported.loaded.model.model.text_backbone.parameters())
    others = sum(weight.numel() for weight in exported.loaded.model.parameters()) - text
    assert len(data) < 4 * (others + text / 2) + 2e6
    assert b"text_backbone" not in data
    assert str(Path(gdino_lightning.__file__).parents[1]).encode() not in data
    assert sorted(path.name for path in exported.graph.path.parent.iterdir()) == ["128x96.json", "128x96.onnx"]


@pytest.mark.slow
def test_the_other_family_with_switches_off_other_phrases_the_maximum_and_one_picture(drawn, tmp_path):
    """Learned anchors and content: what matches best decides nothing, and is not in the graph."""
    switches = Switches(text_guided_queries=False, fusion=False, sub_sentence=False)
    model = tiny("mm-grounding-dino", decoder_bbox_embed_share=False)
    add_static_anchors(model)
    loaded = Pretrained(model, nano_tokenizer(), PHRASES, switches.architecture, CALIBRATED)
    wordings = ["red bird", "fish"]
    settings = {"dynamic_batch": False, "token_score": "max", "progress": False}
    (graph,) = export_onnx(loaded, tmp_path, canvases=[(128, 96)], phrases=wordings, **settings)
    assert not graph.dynamic_batch
    pixels, mask = drawn_batch(drawn, 1, (128, 96))
    prompt = build_prompt(wordings, loaded.tokenizer)
    with torch.no_grad():
        outputs = GroundingDetector(model, switches).eval()(pixels, mask, prompt)
    scores, boxes = Exported(loaded, graph).run(pixels, mask)
    expected = phrase_scores(outputs.final_logits, prompt.phrase_map, "max")
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(boxes, outputs.final_boxes, rtol=0, atol=1e-5)
    described = json.loads(graph.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert described["phrases"] == wordings
    assert described["thresholds"] is None  # calibrated for other phrases
    assert described["token_score"] == "max"
    assert not described["dynamic_batch"]


def test_every_canvas_has_its_graph(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(onnx_export, "_write_graph", lambda _, path, canvas, *more: written.append((path, canvas)))
    loaded = Pretrained(tiny("grounding-dino"), nano_tokenizer(), PHRASES)
    export_onnx(loaded, tmp_path, canvases=[(640, 480), (480, 640), (640, 480)], progress=False)
    assert written == [(tmp_path / "640x480.onnx", (640, 480)), (tmp_path / "480x640.onnx", (480, 640))]


@pytest.mark.slow
def test_the_page_shows_how_to_run_a_graph_with_onnxruntime_alone(exported, drawn, tmp_path):
    """The page's own code, on a picture that is shrunk and padded, against `Predictor`."""
    picture = next(path for path in sorted((drawn / "test" / "images").iterdir()) if read_rgb(path).shape[0] < 300)
    evaluation = EvaluationSettings(short_side=128, long_side_max=128, canvas_multiple=32)
    found = Predictor(exported.loaded, evaluation, torch.device("cpu")).look(picture).found
    gaps = found.scores[4:19] - found.scores[5:20]
    place = 4 + int(gaps.argmax())  # a threshold that no score is next to
    thresholds = {**CALIBRATED, "scores": [float(found.scores[place : place + 2].mean())] * 3}
    loaded = replace(exported.loaded, thresholds=thresholds)
    expected = Predictor(loaded, evaluation, torch.device("cpu")).predict(picture)
    model = onnx.load(exported.graph.path)
    next(each for each in model.metadata_props if each.key == "thresholds").value = json.dumps(thresholds)
    onnx.save(model, tmp_path / "graph.onnx")

    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    answers = sorted(names["detect"](str(tmp_path / "graph.onnx"), str(picture)), key=lambda answer: -answer[1])
    assert len(answers) >= 2
    assert [name for name, _, _ in answers] == [list(PHRASES)[label] for label in expected.labels]
    torch.testing.assert_close([score for _, score, _ in answers], expected.scores.tolist(), rtol=0, atol=1e-4)
    corners = torch.tensor([box for _, _, box in answers])
    corners[:, 2:] += corners[:, :2]
    torch.testing.assert_close(corners, expected.boxes, rtol=0, atol=0.05)


class Stubborn(nn.Module):
    """Exports for a fixed number of pictures only, and answers something else than the detector."""

    def forward(self, pixels: torch.Tensor, pixel_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = int(pixels.shape[0])
        values, order = (pixels * pixel_mask[:, None]).reshape(count, -1)[:, :200].topk(30, dim=1)
        return values[..., None].expand(count, 30, 3).sigmoid(), (order[..., None] / 200).expand(count, 30, 4)


@pytest.fixture
def stubborn(monkeypatch) -> Pretrained:
    """Weights in whose place another module is exported."""
    traced = onnx_export._traced
    monkeypatch.setattr(onnx_export, "_traced", lambda _, canvas, dynamic: traced(Stubborn(), canvas, dynamic))
    return Pretrained(tiny("grounding-dino"), nano_tokenizer(), PHRASES)


@pytest.mark.slow
def test_a_wrong_graph_is_not_left_behind_and_what_cannot_be_dynamic_is_said(stubborn, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_DISABLE_TORCH_CHECK", "0")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(CheckpointError, match=r"128x96\.onnx: not written.* differ from torch's by"),
    ):
        export_onnx(stubborn, tmp_path, canvases=[(128, 96)], progress=False)
    assert "canvas 128x96" in caplog.text
    assert "one at a time" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] == "0"


def test_a_graph_that_torch_cannot_make_is_one_line(monkeypatch, tmp_path):
    def refuse(*_: object) -> None:
        raise OnnxExporterError("long story") from ValueError("no operator\nsecond line")

    monkeypatch.setattr(onnx_export, "_traced", refuse)
    loaded = Pretrained(tiny("grounding-dino"), nano_tokenizer(), PHRASES)
    with pytest.raises(CheckpointError, match=r"^canvas 64x64: torch cannot export the graph \(no operator\); try"):
        export_onnx(loaded, tmp_path, canvases=[(64, 64)], progress=False)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"canvases": []}, ConfigError, "no canvas"),
        ({"canvases": [(640, 16)]}, ConfigError, "canvas 640x16: both sides must be at least 32 px"),
        ({"output": Path("graph.onnx")}, ConfigError, "graph.onnx: graphs are written into a folder"),
        ({"phrases": {"a": "cat", "b": "cat"}}, PromptError, "share the wording"),
        ({"phrases": [f"phrase {i}" for i in range(200)]}, PromptError, "use fewer phrases"),
        ({"phrases": None}, PromptError, "none are saved with these weights; .* --phrases"),
        ({"phrases": []}, PromptError, "no class is named"),
    ],
)
def test_bad_input_is_named_before_anything_is_made(settings, error, message, tmp_path):
    asked = {"output": tmp_path / "graphs", "canvases": [(64, 64)], "phrases": ["cat"], **settings}
    with pytest.raises(error, match=message):
        export_onnx(Pretrained(tiny("grounding-dino"), nano_tokenizer()), **asked)
    assert not (tmp_path / "graphs").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == package else object())
    loaded = Pretrained(tiny("grounding-dino"), nano_tokenizer(), PHRASES)
    with pytest.raises(ConfigError, match=rf"{package} is not installed: pip install 'gdino-lightning\[onnx\]'"):
        export_onnx(loaded, tmp_path, canvases=[(64, 64)], progress=False)
