"""The keys of control as typed."""

import pytest
import torch
from verb_runs import ONE_STEP, failure, fit_arguments, run_printed

from gdino_lightning.cli import main
from gdino_lightning.model.pretrained import load_pretrained
from gdino_lightning.training.module import GroundingDinoModule


@pytest.mark.slow
def test_each_key_is_one_line(drawn, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    keys = ["--model.freeze=[text_encoder, backbone.layers.0-1]", "--model.lr_multipliers={heads: 2.0}"]
    keys += ["--model.drop_path=0.1", "--trainer.accumulate_grad_batches=2", "--trainer.precision=bf16-mixed"]
    keys += ["--trainer.callbacks+=gdino_lightning.training.callbacks.AutoBatch"]
    run_printed(*fit_arguments(drawn), *ONE_STEP, *keys)
    last = torch.load("runs/sample/checkpoints/last.ckpt", weights_only=True)
    assert last["hyper_parameters"]["freeze"] == ["text_encoder", "backbone.layers.0-1"]
    assert "current_model_state" in last
    printed = capfd.readouterr().err
    assert "learning rate" in printed
    assert "eval mode" not in printed  # Lightning wonders about frozen parts
    assert "micro-batches of 8, 1 accumulated: 8 pictures a step" in printed


@pytest.mark.slow
def test_adapters_train_and_their_best_checkpoint_is_tested_and_continued(drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_printed(*fit_arguments(drawn), "--trainer.num_sanity_val_steps=0", "--model.lora={rank: 2, layers: [decoder]}")
    run_printed("test", "--ckpt_path", "best")
    run_printed("fit", "--ckpt_path", "last", "--trainer.max_epochs=3")
    folder = tmp_path / "runs" / "sample" / "checkpoints"
    adapter, whole = (load_pretrained(folder / f"epoch-02{end}") for end in (".adapter.safetensors", ".ckpt"))
    for (name, a), b in zip(adapter.model.state_dict().items(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("callback", [[], ["--trainer.callbacks+=gdino_lightning.training.callbacks.AutoBatch"]])
def test_full_memory_says_in_one_line_what_to_lower(drawn, tmp_path, monkeypatch, capfd, callback):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GroundingDinoModule, "training_step", full)
    message = failure(capfd, *fit_arguments(drawn), *ONE_STEP, *callback)
    assert message.startswith("gdino: out of memory: ")
    assert ("halve data.batch_size (4)" in message) == (callback == [])
    assert "model.gradient_checkpointing" in message
    assert "data.short_side (64)" in message


def test_other_errors_of_a_run_are_not_taken_for_full_memory(drawn, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GroundingDinoModule, "training_step", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main([*fit_arguments(drawn), *ONE_STEP])
