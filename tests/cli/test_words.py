"""Words and the keys about them as typed: what is refused in one line, and what a checkpoint keeps."""

import contextlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from verb_runs import ONE_STEP, SIZES, Done, failure, fit_arguments, forbid_steps, rows, run_printed

from gdino_lightning.cli import main
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.pictures import read_split
from gdino_lightning.training.module import GroundingDinoModule

SHORT = [*ONE_STEP, "--trainer.limit_val_batches=1"]
UNLIKE = {
    "negatives": 1,
    "prompt_tokens": 8,
    "class_cost": "token_sum",
    "special_tokens_negative": False,
    "look_forward_twice": False,
    "denoising_queries": 6,
    "gradient_checkpointing": True,
    "token_score": "max",
    "fusion": False,
    "text_guided_queries": False,
    "text_cross_attention": False,
    "sub_sentence": False,
}  # every key about words away from its default


def flags(**settings: object) -> list[str]:
    return [f"--model.{key}={json.dumps(value).strip(chr(34))}" for key, value in settings.items()]


@pytest.fixture(autouse=True)
def own_messages(monkeypatch) -> None:
    """Let the program find standard error anew: that of an earlier test is closed."""
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "handlers", [])


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--model.negatives", "-1"], "model.negatives is -1: it must be 0 or more"),
        (["--model.negatives", "1.5"], "model.negatives"),
        (["--model.prompt_tokens", "5"], "'mask worn incorrectly' needs 6 tokens, a prompt holds 5; shorten it"),
        (["--model.prompt_tokens", "0"], "model.prompt_tokens is 0: it must be above 0"),
        (["--model.prompt_tokens", "999"], "model.prompt_tokens is 999: the model reads 256 tokens at once"),
        (["--model.denoising_queries", "-3"], "model.denoising_queries is -3: it must be 0 or more"),
        (["--model.token_score", "median"], "'mean', 'max'"),
        (["--model.class_cost", "x"], "'token_mean', 'token_sum'"),
        (["--model.fusion", "maybe"], "model.fusion"),
        (["--model.phrases={with_mask: Mask, without_mask: mask, mask_weared_incorrect: c}"], "'without_mask' share"),
        (["--model.phrases={with_mask: cafe, without_mask: café, mask_weared_incorrect: c}"], "'cafe' and 'café'"),
        (["--model.phrases={with_mask: 日本, without_mask: a, mask_weared_incorrect: c}"], "no word of '日本'"),
    ],
)
def test_values_that_cannot_be_used_are_named_in_one_line(drawn, here, monkeypatch, capfd, given, says):
    forbid_steps(monkeypatch)
    message = failure(capfd, *fit_arguments(drawn), *given)
    assert says in message
    assert len(message) < 300
    assert not (here / "runs").exists()


@pytest.mark.parametrize("empty", ["", "null"])
def test_an_empty_wording_is_the_name_of_the_class(drawn, here, empty):
    phrases = f"--model.phrases={{with_mask: {empty}, without_mask: bare, mask_weared_incorrect: {empty}}}"
    assert main([*fit_arguments(drawn), *SHORT, phrases]) == 0
    saved = torch.load(here / "runs/sample/checkpoints/best.ckpt", weights_only=True)["gdino"]["phrases"]
    assert saved == {"with_mask": "with mask", "without_mask": "bare", "mask_weared_incorrect": "mask weared incorrect"}


@pytest.mark.slow
def test_phrases_of_any_characters_are_tested_as_they_were_trained(drawn, here):
    """What a checkpoint's hyper-parameters go through on the way to `test`."""
    phrases = {"with_mask": "red 😀 hat", "without_mask": "no. 1: 'café' #", "mask_weared_incorrect": 'yes, {a} "b"'}
    (here / "phrases.yaml").write_text(yaml.safe_dump({"model": {"phrases": phrases}}, allow_unicode=True))
    assert main([*fit_arguments(drawn), "--config=phrases.yaml", *SHORT]) == 0
    assert main(["test", "--ckpt_path=best"]) == 0
    assert rows(here / "runs/sample")[-1]["test/map"]


@pytest.fixture(scope="module")
def unlike(drawn, tmp_path_factory) -> Done:
    """A run of one epoch with every key about words away from its default."""
    home = tmp_path_factory.mktemp("unlike")
    with contextlib.chdir(home):
        printed = run_printed(*fit_arguments(drawn), *SHORT, *flags(**UNLIKE))
    return Done(home, home / "runs" / "sample", printed, "")


@pytest.fixture
def copied_unlike(unlike, tmp_path, monkeypatch) -> Done:
    shutil.copytree(unlike.home, tmp_path / "home", symlinks=True)
    monkeypatch.chdir(tmp_path / "home")
    return Done(tmp_path / "home", tmp_path / "home" / "runs" / "sample", unlike.fit_printed, "")


def test_every_key_about_words_is_kept_in_the_configuration_and_in_the_checkpoint(unlike):
    saved = torch.load(unlike.run / "checkpoints/best.ckpt", weights_only=True)
    config = yaml.safe_load((unlike.run / "config.yaml").read_text())["model"]
    assert {key: saved["hyper_parameters"][key] for key in UNLIKE} == UNLIKE
    assert {key: config[key] for key in UNLIKE} == UNLIKE
    off = ("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence")
    assert saved["gdino"]["architecture"] == dict.fromkeys(off, False)


def test_a_checkpoint_alone_is_scored_as_it_was_trained(copied_unlike, drawn):
    """Without a word on the command line, and the same from the parts put together by hand."""
    best = copied_unlike.run / "checkpoints/best.ckpt"
    assert main(["test", f"--ckpt_path={best}"]) == 0
    module = GroundingDinoModule(
        {"with_mask": None, "without_mask": None, "mask_weared_incorrect": "mask worn incorrectly"}, **UNLIKE
    )
    module.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    data = DetectionDataModule(str(drawn), module.class_names, num_workers=0, **SIZES)
    data.setup("test")
    assert len(module.eval().questioner.chunks) > 1
    scores = module.test_map
    with torch.no_grad():
        for batch in data.test_dataloader():
            scores.update(module.detect(batch), batch.targets)
    last = rows(copied_unlike.run)[-1]
    for name, value in scores.compute().items():
        assert float(last[f"test/{name}"]) == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.slow
def test_a_run_with_every_key_changed_is_resumed_and_predicts(copied_unlike):
    assert main(["fit", "--ckpt_path=last", "--trainer.max_epochs=2"]) == 0
    assert [row["epoch"] for row in rows(copied_unlike.run) if row["val/loss"]] == ["0", "1"]
    assert main(["predict", "--ckpt_path=best"]) == 0
    assert (copied_unlike.run / "predictions.csv").is_file()


@pytest.mark.parametrize("key", ["fusion", "text_guided_queries", "text_cross_attention", "sub_sentence"])
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_part_that_was_off_in_training_cannot_be_on_later(copied_unlike, monkeypatch, capfd, verb, key):
    forbid_steps(monkeypatch)
    message = failure(capfd, verb, f"--ckpt_path={copied_unlike.run}", f"--model.{key}=true")
    assert f"the weights were trained without {key}, which would be on now: add --model.{key} false" in message


@pytest.mark.slow
def test_weights_of_an_ablation_start_a_run_of_the_same_ablation_only(copied_unlike, drawn, monkeypatch, capfd):
    weights = f"--model.weights={copied_unlike.run / 'checkpoints/best.ckpt'}"
    off = {key: UNLIKE[key] for key in ("fusion", "text_guided_queries", "text_cross_attention", "sub_sentence")}
    assert main([*fit_arguments(drawn), *SHORT, weights, *flags(**off)]) == 0
    forbid_steps(monkeypatch)
    message = failure(capfd, *fit_arguments(drawn), weights)
    assert all(f"--model.{key} false" in message for key in off)


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_learned_anchors_that_a_checkpoint_has_not_are_missed_in_one_line(copied, monkeypatch, capfd, verb):
    forbid_steps(monkeypatch)
    message = failure(capfd, verb, "--ckpt_path=runs/sample", "--model.text_guided_queries=false")
    assert "text_guided_queries" in message


def with_captions(drawn: Path, folder: Path, text: str) -> Path:
    """A copy of the data in which three pictures have a caption that begins with a face."""
    shutil.copytree(drawn, folder)
    lines = [
        {
            "image_name": picture.name,
            "caption": text,
            "phrases": [{"spans": [[0, 6]], "boxes": picture.boxes_px[:1].tolist()}],
        }
        for picture in read_split(folder / "train")[:3]
    ]
    (folder / "train" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.slow
def test_captions_beside_the_table_are_trained(drawn, here, monkeypatch):
    told: list[str] = []
    take_step = GroundingDinoModule.training_step

    def step(module, batch, number):
        told.extend(target.caption.text for target in batch.targets if target.caption)
        return take_step(module, batch, number)

    monkeypatch.setattr(GroundingDinoModule, "training_step", step)
    root = with_captions(drawn, here / "data", "a face in front of a wall")
    short = ["--trainer.max_epochs=1", "--trainer.num_sanity_val_steps=0", "--trainer.limit_val_batches=1"]
    assert main([*fit_arguments(root), "--data.val=test", *short]) == 0
    assert told == ["a face in front of a wall"] * 3


def test_a_caption_of_too_many_words_is_named_before_the_first_step(drawn, here, monkeypatch, capfd):
    forbid_steps(monkeypatch)
    root = with_captions(drawn, here / "data", "a face" + " mask" * 300)
    message = failure(capfd, *fit_arguments(root), "--data.val=test", "--trainer.num_sanity_val_steps=0")
    assert "a prompt holds 256" in message
    assert "'a face mask" in message
    assert len(message) < 300
