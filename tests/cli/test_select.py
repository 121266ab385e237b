"""`gdino select` on a finished run: what it scores, writes and refuses."""

import pytest
import torch
import yaml
from verb_runs import CLASSES, failure, fit_arguments, rows, run_printed

from gdino_lightning.cli import main, select_verb
from gdino_lightning.evaluation.calibration import THRESHOLDS_NAME, calibrate
from gdino_lightning.evaluation.records import VAL_RECORDS, load_records
from gdino_lightning.model.pretrained import load_pretrained
from gdino_lightning.training.callbacks import Reference

PREFIX = "detector.model."


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def load(path):
    return torch.load(path, weights_only=True)


@pytest.mark.slow
def test_every_kept_epoch_is_scored_as_fit_did_and_the_chosen_one_is_handed_over(copied, fitted):
    (copied.run / "checkpoints" / "best.ckpt").unlink()
    printed = run_printed("select", "--run", "runs/latest").splitlines()
    epochs = [cells(line) for line in printed if line.startswith("| epoch")]
    logged = [row for row in rows(copied.run) if row["val/loss"]]
    assert [each[0] for each in epochs] == ["epoch 0", "epoch 1"]
    assert [each[1] for each in epochs] == [f"{float(row['val/map']):.3f}" for row in logged]
    chosen = next(place for place, each in enumerate(epochs) if each[-1].startswith("chosen"))
    assert f"runs/sample/checkpoints/best.ckpt is epoch {chosen}; its thresholds:" in printed
    assert printed[-1] == "next: gdino test --ckpt_path runs/sample/checkpoints/best.ckpt"
    best = load(copied.run / "checkpoints" / "best.ckpt")
    epoch = load(copied.run / "checkpoints" / f"epoch-0{chosen}.ckpt")
    assert best["epoch"] == chosen
    assert all(torch.equal(best["state_dict"][name], weight) for name, weight in epoch["state_dict"].items())
    stored = load_records(copied.run / VAL_RECORDS)
    assert list(stored.class_names) == CLASSES
    assert len(set(stored.picture_names)) == len(stored.records) == 4
    expected = calibrate(stored.records, stored.class_names).thresholds.to_plain()
    thresholds = yaml.safe_load((copied.run / THRESHOLDS_NAME).read_text())
    for name, value in expected.items():
        assert best["gdino"]["thresholds"][name] == value
        assert thresholds[name] == value
    assert rows(copied.run) == rows(fitted.run)  # nothing is added to the curves


@pytest.mark.slow
def test_interpolation_writes_the_chosen_mixture_and_test_takes_it(copied, world, monkeypatch):
    monkeypatch.setattr(select_verb, "ALPHAS", (0.0, 0.5, 1.0))
    phrases = copied.home / "phrases.yaml"
    phrases.write_text("cup: a mug\nbottle:\n")
    reference = [f"--reference={world}", f"--reference_phrases={phrases}"]
    printed = run_printed("select", "--run=runs/sample", "--interpolate", *reference).splitlines()
    curve = [cells(line) for line in printed if line.startswith("| alpha")]
    assert [each[0] for each in curve] == ["alpha 0.0", "alpha 0.5", "alpha 1.0"]
    assert [len(each) for each in curve] == [7, 7, 7]
    best_epoch = next(cells(line) for line in printed if "| chosen" in line and line.startswith("| epoch"))
    assert curve[2][1:5] == best_epoch[1:5]  # alpha 1 is the chosen epoch
    assert (copied.run / select_verb.CURVE).read_bytes().startswith(b"\x89PNG")
    chosen = next(each[0] for each in curve if each[-1].startswith("chosen"))
    alpha = float(chosen.removeprefix("alpha "))
    path = copied.run / "checkpoints" / f"interpolated-{alpha:.2f}.ckpt"
    mixed, best = load(path), load(copied.run / "checkpoints" / "best.ckpt")
    start = yaml.safe_load((copied.run / "config.yaml").read_text())["model"]["weights"]
    for name, weight in load_pretrained(start).model.state_dict().items():
        end = best["state_dict"][PREFIX + name]
        if weight.is_floating_point():
            torch.testing.assert_close(mixed["state_dict"][PREFIX + name], weight + alpha * (end - weight))
    assert printed[-1] == f"next: gdino test --ckpt_path runs/sample/checkpoints/{path.name}"
    assert main(["test", "--ckpt_path", f"runs/sample/checkpoints/{path.name}"]) == 0
    assert rows(copied.run)[-1]["test/map"]


def test_what_is_no_run_or_cannot_be_is_refused_by_name(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert "nowhere: no config.yaml" in failure(capfd, "select", "--run=nowhere")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("data: {num_pictures: 3}\ntrainer: {}\n")
    assert "no epoch-NN.ckpt" in failure(capfd, "select", "--run=run")
    (run / "checkpoints" / "epoch-00.ckpt").touch()
    assert "no data.root" in failure(capfd, "select", "--run=run")
    assert "--interpolate" in failure(capfd, "select", "--run=run", "--reference=data")
    (run / "config.yaml").write_text("data: {root: data}\ntrainer: {accelerator: cpu}\n")
    assert "--reference, too" in failure(capfd, "select", "--run=run", "--interpolate", "--reference_phrases=a.yaml")
    assert "data/train/annotations.csv" in failure(capfd, "select", "--run=run", "--interpolate", "--reference=data")


class Run:
    """A finished run as far as its reference goes."""

    def __init__(self, reference: Reference | None) -> None:
        self.reference = reference


def test_the_reference_is_that_of_the_run_unless_the_command_line_says_otherwise(tmp_path, world):
    own = Reference(str(world), phrases=["cup"], num_pictures=3)
    file = tmp_path / "phrases.yaml"
    file.write_text("cup: a small mug\nbottle:\n")
    assert select_verb._reference(Run(None), None, None) is None
    assert select_verb._reference(Run(own), None, None) == own
    assert select_verb._reference(Run(own), world, None) == Reference(str(world))
    asked = {"cup": "a small mug", "bottle": None}
    assert select_verb._reference(Run(own), None, file) == Reference(str(world), asked, num_pictures=3)
    assert select_verb._reference(Run(None), world, file) == Reference(str(world), asked)


@pytest.mark.slow
def test_without_flags_the_curve_shows_what_the_run_logged_of_its_own_reference(world, drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(select_verb, "ALPHAS", (0.0, 1.0))
    watched = ["--model.weights=nano", f"--reference.root={world}", "--reference.num_pictures=6"]
    larger = ["--data.short_side=128", "--data.long_side_max=128"]
    run_printed(
        *fit_arguments(drawn),
        *watched,
        *larger,
        "--trainer.max_epochs=1",
        "--trainer.callbacks=[]",
        "--trainer.callbacks+=gdino_lightning.training.callbacks.EpochCheckpoints",
    )
    printed = run_printed("select", "--run=runs/latest", "--interpolate").splitlines()
    curve = [cells(line) for line in printed if line.startswith("| alpha")]
    before, after = [
        float(row["val/reference/map"]) for row in rows(tmp_path / "runs/latest") if row["val/reference/map"]
    ]
    assert before > 0.1
    assert [each[5] for each in curve] == [f"{before:.3f}", f"{after:.3f}"]


@pytest.mark.parametrize("text", ["- dog", "a: [", None])
def test_a_file_that_holds_no_phrases_is_refused_by_name(tmp_path, text):
    file = tmp_path / "phrases.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(select_verb.ConfigError, match=r"phrases\.yaml.*(`class: wording` lines|YAML)"):
        select_verb._read_phrases(file)
