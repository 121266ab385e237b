"""Tensors of an official file that no model of transformers has: `unused.safetensors` in a folder, for the way back."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gdino_lightning.errors import CheckpointError, reason_of
from gdino_lightning.files import write_atomic

UNUSED_NAME = "unused.safetensors"


def write_unused(folder: Path, unused: Mapping[str, Tensor]) -> None:
    """Write them into a folder, where there are any."""
    if unused:
        write_atomic(folder / UNUSED_NAME, save({name: tensor.contiguous() for name, tensor in unused.items()}))


def read_unused(folder: Path) -> dict[str, Tensor]:
    """Read what `write_unused` wrote; nothing where there is no such file.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = folder / UNUSED_NAME
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged ({reason_of(error)}); export the weights again") from None
