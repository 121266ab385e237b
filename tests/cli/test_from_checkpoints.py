"""`--ckpt_path`: what a checkpoint brings with it, what beats it, and what it is refused for."""

import shutil

import torch
from verb_runs import SIZES, failure, forbid_steps, rows

from gdino_lightning.cli import main


def test_resuming_continues_epochs_and_curves_and_keeps_the_record(fitted, copied):
    before = rows(fitted.run)
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "3"]) == 0
    after = rows(copied.run)
    assert after[: len(before)] == before
    assert [row["epoch"] for row in after if row["val/loss"]] == ["0", "1", "2"]
    assert [row["step"] for row in after if row["train/loss"]] == [str(step) for step in range(9)]
    assert len([row for row in after if row["val/map"] and not row["val/loss"]]) == 1  # of the untrained model
    assert (copied.run / "config.yaml").read_bytes() == (fitted.run / "config.yaml").read_bytes()
    assert sorted(path.name for path in (copied.home / "runs").iterdir()) == ["latest", "sample"]
    last = torch.load(copied.run / "checkpoints/last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (2, 9)


def test_flags_beat_the_checkpoint_when_resuming(copied):
    """Lightning's own `_parse_ckpt_path` would put the checkpoint's hyper-parameters above them."""
    flags = ["--trainer.max_epochs=3", "--model.learning_rate=5e-4", "--model.top_k=7"]
    assert main(["fit", "--ckpt_path", "runs/sample", *flags]) == 0
    used = torch.load(copied.run / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    first = torch.load(copied.run / "checkpoints/epoch-00.ckpt", weights_only=True)["hyper_parameters"]
    assert (used["learning_rate"], used["top_k"], used["weight_decay"]) == (5e-4, 7, 1e-5)
    assert used["phrases"] == first["phrases"]


def test_flags_beat_the_checkpoint_when_testing(copied, tested):
    assert main(["test", "--ckpt_path", "best", "--model.top_k", "1"]) == 0
    assert rows(copied.run)[-1]["test/loss"] == rows(tested.run)[-1]["test/loss"]
    assert rows(copied.run)[-1]["test/mar_100"] != rows(tested.run)[-1]["test/mar_100"]


def test_weights_alone_cannot_be_resumed(copied, capfd, monkeypatch):
    forbid_steps(monkeypatch)
    message = failure(capfd, "fit", "--ckpt_path", "best")
    assert "last.ckpt" in message
    assert "--model.weights=runs/sample/checkpoints/best.ckpt" in message


def test_a_checkpoint_alone_is_scored_where_the_data_is_named(copied, drawn, capfd, tmp_path):
    moved = shutil.move(copied.run / "checkpoints" / "best.ckpt", tmp_path / "taken.ckpt")
    shutil.rmtree(copied.home / "runs")
    assert "--data.root" in failure(capfd, "test", f"--ckpt_path={moved}")
    sizes = [f"--data.{key}={value}" for key, value in SIZES.items()]
    assert main(["test", f"--ckpt_path={moved}", f"--data.root={drawn}", "--data.num_workers=0", *sizes]) == 0
    assert rows(copied.home / "runs" / "run")[-1]["test/map"]


def test_other_phrases_than_the_checkpoint_has_are_refused(copied, capfd):
    phrases = "--model.phrases={with_mask: masked, without_mask: bare, mask_weared_incorrect: wrong}"
    assert "was trained with phrases" in failure(capfd, "fit", "--ckpt_path=last", phrases)
