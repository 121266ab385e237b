"""The module in a real Trainer on the drawn dataset."""

import csv
import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.prompt import build_prompt
from gdino_lightning.training.callbacks import EpochCheckpoints
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule

PHRASES = {"with_mask": "with mask", "without_mask": "without mask", "mask_weared_incorrect": "mask worn incorrectly"}


def data(root: Path, **settings) -> DetectionDataModule:
    sizes = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 4}
    return DetectionDataModule(str(root), PHRASES, num_workers=0, val=0.25, **{**sizes, **settings})


def trainer(run: Path, epochs: int = 1, **settings) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "accelerator": "cpu"}
    return Trainer(
        default_root_dir=run,
        max_epochs=epochs,
        logger=MetricsCSVLogger(run),
        use_distributed_sampler=False,
        gradient_clip_val=0.1,
        callbacks=[EpochCheckpoints()],
        **{**quiet, "num_sanity_val_steps": -1, **settings},
    )


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory) -> Path:
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("run")
    seed_everything(0)
    trainer(folder, epochs=2).fit(GroundingDinoModule(PHRASES, warmup_steps=2), data(drawn))
    return folder


def test_logs_every_promised_key_and_a_zero_shot_row(run):
    logged = {key for row in rows(run) for key, value in row.items() if value}
    losses = {f"{stage}/loss{part}" for stage in ("train", "val") for part in ("", "_ce", "_bbox", "_giou")}
    scores = {f"val/{key}" for key in ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")}
    assert losses | scores | {f"val/map/{name}" for name in PHRASES} <= logged
    first, *later = [row for row in rows(run) if row["val/map"]]
    assert first["step"] == "0"
    assert first["val/loss"] == ""
    assert len(later) == 2


def test_everything_that_can_be_monitored_is_known_beforehand(run):
    logged = {key for row in rows(run) for key, value in row.items() if value} - {"epoch", "step"}
    assert logged == set(GroundingDinoModule(PHRASES).metric_names())


def test_parts_of_the_loss_add_up(run):
    for row in rows(run):
        if row["train/loss"]:
            parts = sum(float(row[f"train/loss_{part}"]) for part in ("ce", "bbox", "giou"))
            assert float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)


def test_resuming_equals_never_stopping(run, drawn, tmp_path):
    """Epochs, weights, optimizer and the kept rows of metrics.csv."""
    straight, stopped, resumed = (GroundingDinoModule(PHRASES, warmup_steps=2, schedule="constant") for _ in range(3))
    trainer(tmp_path / "a", epochs=2).fit(straight, data(drawn))
    trainer(tmp_path / "b", epochs=1).fit(stopped, data(drawn))
    before = rows(tmp_path / "b")
    again = trainer(tmp_path / "b", epochs=2)
    again.fit(resumed, data(drawn), ckpt_path=tmp_path / "b" / "checkpoints" / "last.ckpt")
    assert rows(tmp_path / "b")[: len(before)] == before
    epochs = [row["epoch"] for row in rows(tmp_path / "b") if row["val/loss"]]
    assert epochs == ["0", "1"]
    for (name, a), b in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_resuming_repeats_the_draws_of_dropout(drawn, tmp_path):
    seed_everything(7)
    modules = [GroundingDinoModule(PHRASES, schedule="constant", dropout=0.2) for _ in range(3)]
    trainer(tmp_path / "a", epochs=2).fit(modules[0], data(drawn))
    trainer(tmp_path / "b", epochs=1).fit(modules[1], data(drawn))
    torch.manual_seed(99)  # another process has another random state
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    trainer(tmp_path / "b", epochs=2).fit(modules[2], data(drawn), ckpt_path=last)
    assert modules[2].detector.model.model.decoder.layers[0].dropout == 0.2
    for (name, a), b in zip(modules[0].state_dict().items(), modules[2].state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": math.inf},
        {"learning_rate": math.nan},
        {"drop_path": 1.0},
        {"weight_decay": -1.0},
        {"warmup_steps": -5},
        {"dropout": 1.0},
        {"top_k": 0},
    ],
)
def test_numbers_out_of_range_are_named(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"model.{name} is"):
        GroundingDinoModule(PHRASES, **setting)


def test_mixed_precision_trains_and_clips(drawn, tmp_path):
    module = GroundingDinoModule(PHRASES, warmup_steps=0)
    before = module.detector.model.model.enc_output.weight.clone()
    settings = {"max_steps": 1, "num_sanity_val_steps": 0, "limit_val_batches": 1, "precision": "bf16-mixed"}
    trainer(tmp_path, **settings).fit(module, data(drawn))
    assert not torch.equal(module.detector.model.model.enc_output.weight, before)
    assert module.detector.model.model.enc_output.weight.dtype == torch.float32


def test_a_checkpoint_is_complete_and_plain(run):
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["gdino"]["phrases"] == PHRASES
    assert "optimizer_states" not in checkpoint
    loaded = GroundingDinoModule.load_from_checkpoint(path, weights_only=True)
    assert loaded.class_names == list(PHRASES)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][name])


def test_a_checkpoint_of_another_architecture_is_taken_over(tmp_path):
    module = GroundingDinoModule(PHRASES)
    description = {}
    module.on_save_checkpoint(description)
    description["gdino"]["config"]["num_queries"] = 7
    module.on_load_checkpoint(description)
    assert module.detector.model.model.query_position_embeddings.weight.shape[0] == 7


def test_other_classes_are_refused(run):
    description = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    with pytest.raises(CheckpointError, match="trained with phrases"):
        GroundingDinoModule(["with_mask", "hat"]).on_load_checkpoint(description)
    permuted = dict(reversed(PHRASES.items()))
    with pytest.raises(CheckpointError, match="trained with phrases"):
        GroundingDinoModule(permuted).on_load_checkpoint(description)


def test_test_scores_are_logged_and_the_earlier_rows_stay(run, drawn):
    before = rows(run)
    module = GroundingDinoModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt", weights_only=True)
    (scores,) = trainer(run).test(module, data(drawn), verbose=False)
    after = rows(run)
    assert [{k: row[k] for k in before[0]} for row in after[: len(before)]] == before
    assert float(after[-1]["test/map"]) == pytest.approx(scores["test/map"])
    assert math.isfinite(scores["test/loss"])
    validated = {(row["epoch"], row["step"]) for row in before if row["val/loss"]}
    assert (after[-1]["epoch"], after[-1]["step"]) in validated  # filed where the checkpoint was made


def test_non_finite_numbers_name_step_and_pictures(drawn, tmp_path):
    module = GroundingDinoModule(PHRASES)
    with torch.no_grad():
        module.detector.model.model.level_embed.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"train step 0: .*maksssksksss\d+\.png"):
        trainer(tmp_path, num_sanity_val_steps=0).fit(module, data(drawn))


def test_precisions_that_convert_the_weights_are_refused(tmp_path):
    trainer = Trainer(precision="bf16-true", accelerator="cpu", logger=False, default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match="precision is bf16-true: use bf16-mixed"):
        trainer.test(GroundingDinoModule(["cup"]), [[]], verbose=False)


def test_detect_leaves_every_mode_as_it_was_even_where_it_fails(drawn):
    module = GroundingDinoModule(["with_mask"])
    module.detector.model.model.encoder.eval()  # by hand
    modes = {name: part.training for name, part in module.named_modules()}
    assert len(set(modes.values())) == 2
    source = data(drawn)
    source.setup("test")
    batch = next(iter(source.test_dataloader()))
    first, again = module.detect(batch), module.detect(batch, build_prompt(["with mask"], module.tokenizer))
    assert torch.equal(first[0].scores, again[0].scores)
    assert not first[0].scores.requires_grad
    with pytest.raises(ValueError, match="no prompt to ask"):
        module.detect(batch, [])
    assert {name: part.training for name, part in module.named_modules()} == modes


def test_forward_with_more_classes_than_one_prompt_holds_says_what_to_do(drawn):
    module = GroundingDinoModule(["with_mask", "without_mask"], prompt_tokens=6)
    with pytest.raises(ValueError, match="the classes need 2 prompts: use detect"):
        module(torch.zeros(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
