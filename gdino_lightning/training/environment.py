"""On what a run ran: versions and device, for its report."""

import os
import platform
from importlib.metadata import version

import torch
from lightning.pytorch import Trainer

_PACKAGES = ("gdino-lightning", "torch", "lightning", "transformers", "numpy", "faster-coco-eval", "albumentations")


def environment(trainer: Trainer) -> dict[str, str]:
    """Return names and values, in the order in which to show them; nothing that tells machine or user."""
    return {
        "device": _device(trainer),
        "processes": str(trainer.world_size),
        "precision": str(trainer.precision),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    } | {name: version(name) for name in _PACKAGES}


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device.type}, {torch.get_num_threads()} threads, {os.cpu_count()} cores"
