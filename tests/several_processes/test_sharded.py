"""Fully sharded training on two ranks of a CPU: what one process learns, and checkpoints that any number resumes."""

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from ranks import ONE, TWO, on_ranks

from gdino_lightning.errors import ConfigError
from gdino_lightning.training.callbacks import EpochCheckpoints, RampedEMA
from gdino_lightning.training.checkpoint_io import WholeCheckpointIO
from gdino_lightning.training.module import GroundingDinoModule
from gdino_lightning.training.sharded import ShardedStrategy
from tests.several_processes.test_one_step import (
    CLASSES,
    COUNTS,
    QUIET,
    data_of,
    pictures_of,
    same_gradients,
    take_step,
)

LEARNING = {
    "everything": {},
    "but the text encoder": {"freeze": ["text_encoder"]},
    "the heads alone": {"freeze": ["backbone", "text_encoder", "projections", "encoder", "query_selection"]},
    "adapters, saving memory": {"lora": {"rank": 2, "alpha": 4}, "gradient_checkpointing": True},
}


def sharded() -> dict[str, object]:
    return {**TWO, "strategy": ShardedStrategy()}


def _take_steps(rank, roots, settings):
    return [[take_step(root, 1, each, sharded()) for root in roots] for each in settings]


@pytest.mark.slow
def test_two_sharded_ranks_learn_what_one_process_does(tmp_path):
    roots = [pictures_of(tmp_path / name, counts) for name, counts in COUNTS.items()]
    found = on_ranks(_take_steps, roots, list(LEARNING.values()), seconds=400)
    for settings, *ranks in zip(LEARNING.values(), *found, strict=True):
        for root, *steps in zip(roots, *ranks, strict=True):
            alone = take_step(root, 2, settings, ONE)
            for step in steps:
                assert step.logged == pytest.approx(alone.logged, rel=1e-5)
                assert same_gradients(step.gradients, alone.gradients)


def _fit(rank, root, lora):
    """Two epochs, in one go and in two, and the second one without sharding; then averaged weights."""
    _epochs(root, "straight", 2, sharded(), lora)
    for run, resumed in (("sharded", sharded()), ("whole", TWO)):
        _epochs(root, run, 1, sharded(), lora)
        _epochs(root, run, 2, resumed, lora, resume=True)
    with pytest.raises(ConfigError, match="RampedEMA needs whole weights"):
        _epochs(root, "averaged", 1, sharded(), lora, RampedEMA())


def _epochs(root, run, epochs, trainer, lora, *callbacks, resume=False):
    seed_everything(0)
    folder = root / run
    module = GroundingDinoModule(CLASSES, drop_path=0.0, schedule="constant", lora=lora, learning_rate=1e-3)
    settings = {"gradient_clip_val": 0.1, "plugins": [WholeCheckpointIO()], "num_sanity_val_steps": 0}
    fit = Trainer(
        max_epochs=epochs,
        default_root_dir=folder,
        callbacks=[EpochCheckpoints(), *callbacks],
        **{**QUIET, "enable_checkpointing": True},
        **settings,
        **trainer,
    )
    last = folder / "checkpoints" / "last.ckpt"
    fit.fit(module, data_of(root, batch_size=1), ckpt_path=last if resume else None)


def load(root, run, name):
    return torch.load(root / run / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["weights", "adapters"])
def test_checkpoints_of_sharded_runs_are_whole_and_resume_to_the_bit_and_without_sharding_near_it(tmp_path, lora):
    root = pictures_of(tmp_path, (1, 9, 0, 5))
    on_ranks(_fit, root, lora, seconds=400)
    straight, sharded, whole = (load(root, run, "last") for run in ("straight", "sharded", "whole"))
    plain = GroundingDinoModule(CLASSES).state_dict()
    best = load(root, "straight", "best")["state_dict"]
    assert best.keys() == plain.keys()  # with adapters merged
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in best.items())
    assert all(torch.equal(tensor, sharded["state_dict"][name]) for name, tensor in straight["state_dict"].items())
    optimizers = [each["optimizer_states"][0] for each in (straight, sharded, whole)]
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"] == optimizers[2]["param_groups"]
    for index, state in optimizers[0]["state"].items():
        assert all(torch.equal(value, optimizers[1]["state"][index][key]) for key, value in state.items())
    learned = [name for group in optimizers[0]["param_groups"] for name in group["param_names"]]
    ours, theirs = (torch.cat([weights(each, name) for name in learned]) for each in (straight, whole))
    assert (ours - theirs).norm() <= 1e-3 * ours.norm()
    adapters = list((root / "straight" / "checkpoints").glob("*.adapter.safetensors"))
    assert len(adapters) == (2 if lora else 0)


def weights(checkpoint, name):
    return checkpoint["state_dict"][f"detector.model.{name}"].flatten()
