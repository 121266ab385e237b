"""`gdino export`: from one format to another, and what it refuses."""

import pytest
import torch
import yaml
from official_files import official_tensors, random_model, same_tensors, write_words

from gdino_lightning.cli import main
from gdino_lightning.cli.run_facts import facts_of
from gdino_lightning.inference import saved
from gdino_lightning.model import onnx_export
from gdino_lightning.model.folder import EvaluationSettings
from gdino_lightning.model.nano.weights import pretrained_nano
from gdino_lightning.model.pretrained import describe_loaded, load_pretrained


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that an error is."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("gdino: ")
    return line


def test_transformers_to_official_and_back_changes_no_bit(tmp_path, capsys):
    assert export("--weights", "nano", "--format", "official", "--output", tmp_path / "nano.pth") == 0
    assert f"weights for the official code: {tmp_path / 'nano.pth'}" in capsys.readouterr().out
    assert export("--weights", tmp_path / "nano.pth", "--format", "hf", "--output", tmp_path / "hf") == 0
    assert f"gdino detect --weights {tmp_path / 'hf'}" in capsys.readouterr().out
    assert same_tensors(load_pretrained(tmp_path / "hf").model.state_dict(), pretrained_nano().state_dict())


def test_official_to_transformers_and_back_changes_no_bit_and_loses_no_tensor(tmp_path):
    write_words(tmp_path)
    theirs = official_tensors(random_model())
    torch.save({"model": {f"module.{name}": tensor for name, tensor in theirs.items()}}, tmp_path / "any.pth")
    assert export("--weights", tmp_path / "any.pth", "--format", "hf", "--output", tmp_path / "hf") == 0
    assert export("--weights", tmp_path / "hf", "--format", "official", "--output", tmp_path / "back.pth") == 0
    assert same_tensors(torch.load(tmp_path / "back.pth")["model"], theirs)


def test_the_same_export_again_is_fine_and_another_is_refused(tmp_path, capsys):
    path = tmp_path / "nano.pth"
    assert export("--weights", "nano", "--format", "official", "--output", path) == 0
    before = path.read_bytes()
    assert export("--weights", "nano", "--format", "official", "--output", path) == 0
    assert path.read_bytes() == before
    capsys.readouterr()
    assert export("--weights", "nano-random", "--format", "official", "--output", path) == 2
    assert "is there already and holds something else" in error_of(capsys)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["nano.pth"]


def test_a_folder_that_export_did_not_write_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert export("--weights", "nano", "--format", "hf", "--output", tmp_path) == 2
    assert "holds mine.txt, not of an export" in error_of(capsys)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weights", "gone.pth", "--format", "hf", "--output", "x"], "gone.pth: no such folder or file"),
        (["--weights", "nano", "--format", "tf", "--output", "x"], "invalid choice: 'tf'"),
        (["--weights", "nano", "--format", "hf"], "required: --output"),
        (
            ["--weights", "nano", "--format", "hf", "--output", "x", "--canvas", "64x64"],
            "--canvas is for --format onnx",
        ),
        (["--weights", "nano", "--format", "onnx", "--output", "x", "--canvas", "64"], "--canvas 64: expected WIDTHx"),
        (
            ["--weights", "nano", "--format", "onnx", "--output", "x", "--phrases", "no.yaml", "--canvas", "320x320"],
            "no.yaml: no such file",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert export(*arguments) == 2
    assert says in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_a_run_tells_its_base_its_data_and_what_its_epoch_scored(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    loaded = load_pretrained("nano-random")
    loaded.phrases = {"cup": "red cup"}
    state = {f"detector.model.{name}": tensor for name, tensor in loaded.model.state_dict().items()}
    settings = {"model": {"weights": "nano", "top_k": 50}}
    settings["data"] = {"root": "data/cups", "short_side": 192, "long_side_max": 256}
    kept = {"hyper_parameters": {"top_k": 50}, "datamodule_hyper_parameters": settings["data"]}
    checkpoint = {"state_dict": state, "gdino": describe_loaded(loaded), "epoch": 1, **kept}
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = ["epoch,step,val/map,val/map_50", "0,4,0.1,0.2", "1,8,0.31,0.52", "1,9,,", "2,12,0.9,0.9"]
    (run / "metrics.csv").write_text("\n".join(rows))
    facts = facts_of(str(run))
    assert (facts.base, facts.data, facts.scored_on) == ("nano", "cups", "validation part of cups")
    assert facts.metrics == {"val/map": 0.31, "val/map_50": 0.52}
    assert (facts.evaluation.short_side, facts.evaluation.long_side_max, facts.evaluation.top_k) == (192, 256, 50)
    assert export("--weights", run, "--format", "hf", "--output", tmp_path / "hf", "--license", "mit") == 0
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "license: mit" in card
    assert "0.31" in card


def test_weights_of_no_run_have_nothing_to_tell():
    assert facts_of("nano").metrics == {}
    assert facts_of("nano").base is None


def test_a_graph_scores_phrases_as_the_weights_were_evaluated(monkeypatch, tmp_path, capsys):
    asked = {}

    def note(loaded, output, **settings):
        asked.update(settings)
        return [onnx_export.ExportedGraph(output / "64x32.onnx", (64, 32), True, 1e-6)]

    monkeypatch.setattr(saved, "saved_evaluation", lambda weights: EvaluationSettings(token_score="max"))
    monkeypatch.setattr(onnx_export, "export_onnx", note)
    words = ["--weights=nano", "--format=onnx", "--canvas=64x32", "--phrases=cat . red dog", f"--output={tmp_path}"]
    assert main(["export", *words]) == 0
    assert asked == {"canvases": [(64, 32)], "phrases": {"cat": "cat", "red dog": "red dog"}, "token_score": "max"}
    assert capsys.readouterr().out == f"{tmp_path}/64x32.onnx: any number of pictures, at most 1e-06 from torch\n"


def test_an_exported_folder_is_asked_as_the_weights_are(tmp_path):
    """Of weights without a run beside them: the miniature, and a checkpoint that was taken out of its run."""
    lone = tmp_path / "lone.ckpt"
    sizes = {"short_side": 96, "long_side_max": 160, "canvas_multiple": 32}
    state = {f"detector.model.{name}": tensor for name, tensor in pretrained_nano().state_dict().items()}
    about = describe_loaded(load_pretrained("nano")) | {"phrases": {"cat": "cat"}}
    torch.save({"gdino": about, "state_dict": state, "datamodule_hyper_parameters": sizes}, lone)
    for weights, sides in (("nano", (192, 192)), (lone, (96, 160))):
        folder = tmp_path / f"hf-{sides[0]}"
        assert export("--weights", weights, "--format", "hf", "--output", folder) == 0
        asked = saved.saved_evaluation(folder)
        assert (asked.short_side, asked.long_side_max, asked.canvas_multiple) == (*sides, 32)
        assert asked == saved.saved_evaluation(weights)
