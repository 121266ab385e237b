"""What to lower when memory is full."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.memory import is_oom_error

from gdino_lightning.errors import ConfigError


def is_full_memory(error: BaseException) -> bool:
    """Tell whether a run ended because memory was full, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)


def explain_full_memory(trainer: Trainer, module: LightningModule) -> ConfigError:
    """Say in one line which settings take less memory; what is set already is not recommended.

    Args:
        trainer: Of the run.
        module: Of the run.
    """
    data = getattr(getattr(trainer, "datamodule", None), "hparams", {})
    size, advice = data.get("batch_size", 1), []
    if size > 1:
        accumulated = 2 * trainer.accumulate_grad_batches
        advice += [f"halve data.batch_size ({size}) and set trainer.accumulate_grad_batches to {accumulated}"]
        advice += ["add the callback AutoBatch, which does so as often as needed"]
    if not module.hparams.get("gradient_checkpointing"):
        advice += ["set model.gradient_checkpointing to true"]
    if trainer.precision == "32-true":
        advice += ["set trainer.precision to bf16-mixed"]
    advice += [f"lower data.short_side ({data.get('short_side')}) and data.train_short_sides"]
    return ConfigError(f"out of memory: {'; or '.join(advice)}")
