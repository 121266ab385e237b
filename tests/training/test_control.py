"""What the keys of control do to a run on the drawn dataset."""

import csv
import logging
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import CheckpointError, ConfigError
from gdino_lightning.model.lora import merge_state
from gdino_lightning.model.pretrained import load_pretrained, read_checkpoint
from gdino_lightning.training.callbacks import EpochCheckpoints, RampedEMA
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule

PHRASES = {"with_mask": "with mask", "without_mask": "without mask", "mask_weared_incorrect": "mask worn incorrectly"}
LORA = {"rank": 2, "alpha": 4, "layers": ["decoder"]}


def module(**settings) -> GroundingDinoModule:
    seed_everything(0)
    return GroundingDinoModule(PHRASES, **{"weights": "nano-random", "warmup_steps": 0, **settings})


def fit(model: GroundingDinoModule, root: Path, run: Path, *callbacks, epochs: int = 1, resume=None, **settings):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=run,
        max_epochs=epochs,
        logger=MetricsCSVLogger(run),
        use_distributed_sampler=False,
        gradient_clip_val=0.1,
        callbacks=[EpochCheckpoints(), *callbacks],
        **{**quiet, "num_sanity_val_steps": 0, **settings},
    )
    sizes = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 4}
    data = DetectionDataModule(str(root), PHRASES, num_workers=0, val=0.25, **sizes)
    trainer.fit(model, data, ckpt_path=resume, weights_only=True if resume else None)
    return trainer


def assert_equal_states(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_frozen_parts_and_layers_stay_still_and_in_evaluation_mode_and_the_rest_moves(drawn, tmp_path):
    model = module(freeze=["text_encoder", "backbone", "encoder.layers.0", "heads"], dropout=0.1)
    before = {name: tensor.clone() for name, tensor in model.detector.model.state_dict().items()}
    fit(model, drawn, tmp_path, limit_train_batches=2, limit_val_batches=1)
    model.train()
    core = model.detector.model.model
    for still in (core.text_backbone, core.backbone, core.encoder.layers[0], core.decoder.bbox_embed):
        assert not any(part.training for part in still.modules())
    assert all(part.training for part in core.encoder.layers[1].modules())
    moved = {n for n, tensor in model.detector.model.state_dict().items() if not torch.equal(tensor, before[n])}
    frozen = ("model.backbone.", "model.text_backbone.", "model.encoder.layers.0.", "model.decoder.bbox_embed.")
    assert not any(name.startswith((*frozen, "bbox_embed.")) for name in moved)
    for learning in ("model.encoder.layers.1.", "model.decoder.layers.0.", "model.input_proj_vision.", "model.enc_out"):
        assert any(name.startswith(learning) for name in moved)


def test_multipliers_give_parts_their_rate_and_the_table_tells(drawn, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "propagate", True)
    model = module(learning_rate=1e-3, lr_multipliers={"backbone": 0.1, "heads": 2.0}, schedule="constant")
    with caplog.at_level(logging.INFO, "gdino_lightning"):
        trainer = fit(model, drawn, tmp_path, limit_train_batches=1, limit_val_batches=1)
    rates = {group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups}
    assert {name: rates[name] for name in ("backbone", "heads", "other")} == pytest.approx(
        {"backbone": 1e-4, "heads": 2e-3, "other": 1e-3}
    )
    rows = {line.split()[0]: line.split()[1:] for line in caplog.text.splitlines() if line.strip()}
    core = model.detector.model.model
    text = sum(parameter.numel() for parameter in core.text_backbone.parameters())
    assert rows["text_encoder"] == [f"{text:,}", "0", "frozen"]
    decoder = sum(parameter.numel() for parameter in core.decoder.layers.parameters())
    decoder += sum(
        p.numel() for m in (core.decoder.layer_norm, core.decoder.reference_points_head) for p in m.parameters()
    )
    assert rows["decoder"] == [f"{decoder:,}", f"{decoder:,}", "1.0e-03"]
    assert rows["heads"][-1] == "2.0e-03"
    assert rows["backbone"][-1] == "1.0e-04"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"freeze": ["bert"]}, "model.freeze: there is no part 'bert'; known are backbone"),
        ({"lr_multipliers": {"neck": 0.1}}, "model.lr_multipliers: there is no part 'neck'"),
        ({"lr_multipliers": {"backbone": 0.0}}, r"lr_multipliers.backbone is 0.0: .* model.freeze"),
        ({"lora": {"rank": 2, "layers": ["neck"]}}, "model.lora.layers: there is no part 'neck'"),
    ],
)
def test_names_and_rates_that_cannot_be_are_refused_when_the_module_is_made(settings, says):
    with pytest.raises(ConfigError, match=says):
        module(**settings)


def test_drop_path_is_a_setting_and_null_keeps_that_of_the_weights():
    core = module(drop_path=0.4).detector.model.model
    assert core.encoder.layers[0].fusion_layer.drop_path.drop_prob == 0.4
    assert isinstance(module().detector.model.model.encoder.layers[0].fusion_layer.drop_path, torch.nn.Identity)


def test_accumulated_batches_are_one_step_and_the_schedule_counts_steps(drawn, tmp_path):
    rates = []
    model = module(learning_rate=1e-3, schedule="cosine", lr_multipliers={})
    model.on_before_optimizer_step = lambda optimizer: rates.append(optimizer.param_groups[0]["lr"])
    trainer = fit(model, drawn, tmp_path, epochs=2, accumulate_grad_batches=2, limit_val_batches=1)
    steps = 2 * -(-trainer.num_training_batches // 2)
    assert trainer.global_step == steps == len(rates)
    expected = [0.5e-3 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-5)


class Weights(RampedEMA):
    """Keeps every step's weights, to average them by hand."""

    def on_train_start(self, trainer, pl_module):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        super().on_train_batch_end(trainer, pl_module, *args)
        self.steps.append({name: tensor.detach().clone().double() for name, tensor in pl_module.state_dict().items()})


@pytest.mark.slow
def test_the_average_is_the_one_computed_by_hand_and_what_is_kept_and_validated(drawn, tmp_path):
    ema = Weights(decay=0.25)
    model = module(learning_rate=1e-2, freeze=[])  # the text encoder learns: what is cached of it must not stay
    fit(model, drawn, tmp_path, ema, epochs=1)
    average = dict(ema.steps[0])
    for n, weights in enumerate(ema.steps[1:], start=1):
        kept = min(0.25, (1 + n) / (10 + n))
        average = {name: kept * average[name] + (1 - kept) * weights[name] for name in average}
    assert len(ema.steps) > 2
    checkpoints = tmp_path / "checkpoints"
    states = [read_checkpoint(checkpoints / f"{name}.ckpt")["state_dict"] for name in ("best", "epoch-00", "last")]
    for state in (*states, model.state_dict()):
        for name, tensor in state.items():
            if tensor.is_floating_point():
                assert torch.allclose(tensor.double(), average[name], rtol=1e-4, atol=1e-6), name
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert_equal_states(
        {name: tensor.double() for name, tensor in last["current_model_state"].items()}, dict(ema.steps[-1])
    )
    (tmp_path / "again").mkdir()
    again = GroundingDinoModule(PHRASES, weights=str(checkpoints / "best.ckpt"))
    sizes = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "batch_size": 4}
    data = DetectionDataModule(str(drawn), PHRASES, num_workers=0, val=0.25, **sizes)
    plain = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path / "again")
    (scores,) = plain.validate(again, data, verbose=False)
    with (tmp_path / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row["val/loss"]][-1]
    assert float(logged["val/loss"]) == pytest.approx(scores["val/loss"], rel=1e-5)


def test_frozen_weights_are_equal_to_their_average(drawn, tmp_path):
    model = module(freeze=["backbone", "text_encoder"])
    before = {n: t.clone() for n, t in model.state_dict().items() if ".backbone." in n or ".text_backbone." in n}
    fit(model, drawn, tmp_path, RampedEMA(), limit_val_batches=1)
    state = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["state_dict"]
    assert_equal_states({name: state[name] for name in before}, before)


@pytest.mark.slow
def test_a_resumed_average_equals_an_unbroken_one(drawn, tmp_path):
    settings = {"schedule": "constant", "dropout": 0.1}
    for run, epochs in (("a", 2), ("b", 1)):
        fit(module(**settings), drawn, tmp_path / run, RampedEMA(0.9), epochs=epochs)
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    fit(module(**settings), drawn, tmp_path / "b", RampedEMA(0.9), epochs=2, resume=last)
    first, second = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in "ab")
    assert_equal_states(second["state_dict"], first["state_dict"])
    assert_equal_states(second["current_model_state"], first["current_model_state"])


def test_a_decay_that_is_no_share_is_refused():
    with pytest.raises(ConfigError, match=r"decay is 1\.0"):
        RampedEMA(1.0)


@pytest.fixture(scope="module")
def adapted(drawn, tmp_path_factory) -> Path:
    """Two epochs of adapters in the decoder."""
    run = tmp_path_factory.mktemp("adapted")
    fit(module(lora=LORA, learning_rate=1e-2), drawn, run, epochs=2)
    return run


def test_adapters_learn_and_the_best_checkpoint_has_plain_weights_with_them(adapted):
    start = load_pretrained("nano-random").model.state_dict()
    best = load_pretrained(adapted / "checkpoints" / "best.ckpt").model.state_dict()
    assert best.keys() == start.keys()
    moved = {name for name, tensor in best.items() if not torch.equal(tensor, start[name])}
    assert moved
    assert all(name.startswith("model.decoder.") and name.endswith(".weight") for name in moved)


def test_adapter_files_are_small_and_equal_to_their_checkpoints(adapted):
    folder = adapted / "checkpoints"
    for epoch in ("epoch-00", "epoch-01"):
        checkpoint, adapter = folder / f"{epoch}.ckpt", folder / f"{epoch}.adapter.safetensors"
        assert adapter.stat().st_size < checkpoint.stat().st_size / 20
        assert_equal_states(load_pretrained(adapter).model.state_dict(), load_pretrained(checkpoint).model.state_dict())


def test_last_holds_adapters_beside_the_weights_and_loads_merged(adapted):
    last = read_checkpoint(adapted / "checkpoints" / "last.ckpt")
    assert any(".lora_A." in name for name in last["state_dict"])
    assert sum(len(state["state"]) for state in last["optimizer_states"]) == sum(
        ".lora_" in name for name in last["state_dict"]
    )
    merged = load_pretrained(adapted / "checkpoints" / "last.ckpt").model.state_dict()
    newest = load_pretrained(adapted / "checkpoints" / "epoch-01.ckpt").model.state_dict()
    assert_equal_states(merged, newest)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_module_with_adapters_takes_either_checkpoint(adapted, name):
    path = adapted / "checkpoints" / f"{name}.ckpt"
    found = GroundingDinoModule.load_from_checkpoint(path, weights_only=True)
    state = {n.removeprefix("detector.model."): t for n, t in found.state_dict().items()}
    merged = merge_state(state, LORA)
    assert_equal_states(merged, load_pretrained(path).model.state_dict())


@pytest.mark.slow
def test_resumed_adapters_equal_unbroken_ones(drawn, adapted, tmp_path):
    settings = {"lora": LORA, "learning_rate": 1e-2, "schedule": "constant"}
    fit(module(**settings), drawn, tmp_path / "a", epochs=2)
    fit(module(**settings), drawn, tmp_path / "b", epochs=1)
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    fit(module(**settings, weights=str(last)), drawn, tmp_path / "b", epochs=2, resume=last)
    first, second = (read_checkpoint(tmp_path / run / "checkpoints" / "last.ckpt") for run in "ab")
    assert_equal_states(second["state_dict"], first["state_dict"])
    assert second["gdino"]["base"] == "nano-random"


def test_resuming_with_other_adapters_is_refused(drawn, adapted, tmp_path):
    last = adapted / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"trained with model\.lora"):
        fit(module(lora=LORA | {"rank": 4}), drawn, tmp_path, resume=last, epochs=3)
    with pytest.raises(CheckpointError, match=r"trained with model\.lora"):
        fit(module(), drawn, tmp_path, resume=last, epochs=3)


def test_averaged_adapters_are_what_is_kept(drawn, tmp_path):
    fit(module(lora=LORA, learning_rate=1e-2), drawn, tmp_path, RampedEMA(0.9))
    folder = tmp_path / "checkpoints"
    best = load_pretrained(folder / "best.ckpt").model.state_dict()
    assert_equal_states(load_pretrained(folder / "last.ckpt").model.state_dict(), best)
    assert_equal_states(load_pretrained(folder / "epoch-00.adapter.safetensors").model.state_dict(), best)
