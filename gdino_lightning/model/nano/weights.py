"""The miniature's pretrained weights: a file of this package, in half precision."""

from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import GroundingDinoForObjectDetection

from gdino_lightning.model.nano import random_nano

WEIGHTS_NAME = "nano.safetensors"


def pretrained_nano() -> GroundingDinoForObjectDetection:
    """Build the miniature with the weights that it was given on the drawn open world, in float32."""
    model = random_nano()
    nn.Module.half(model)  # transformers' own hides the type of what it returns
    with as_file(files(__package__).joinpath(WEIGHTS_NAME)) as path:
        load_model(model, path)  # strict: a missing, further or misshaped tensor is an error
    nn.Module.float(model)
    return model


def save_nano(model: GroundingDinoForObjectDetection, path: Path) -> None:
    """Write weights in half precision; the model is left as it was.

    Args:
        model: A trained miniature.
        path: File to write.
    """
    half = random_nano()
    half.load_state_dict(model.state_dict())
    nn.Module.half(half)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in half.state_dict().values()):
        raise ValueError("a weight is not finite in half precision")
    save_model(half, str(path), metadata={"format": "pt"})
