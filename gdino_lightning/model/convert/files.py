"""Files of weights, read without running code from them."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gdino_lightning.errors import CheckpointError, listed, reason_of

_WRAPPERS = ("model", "state_dict")  # keys that the official code and MMDetection keep their tensors under
# begins of files that were saved in place of weights
_PLACEHOLDERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`, or download it",
    b"<": "a web page, not weights; download the file itself",
}
_DISTRIBUTED = "module."  # what DistributedDataParallel puts before every name


def read_pickle(path: Path) -> Any:
    """Read what `torch.save` wrote: tensors (left on disk until used) and plain values, nothing else.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds more than that.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `ls {path.parent}` shows what is there")
    _refuse_placeholder(path)
    try:
        # trainers keep their command line as a Namespace, which is a bag of values and runs nothing
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))  # the rest of torch's text says how to run it all the same
        held = f"more than weights and plain values (it would run {wanted[1]})" if wanted else "no weights"
        raise CheckpointError(f"{path}: refused, it holds {held}; give a file that a trainer wrote") from None
    except Exception as error:  # whatever the reader of pickles trips over in damaged bytes
        first = reason_of(error).split(". ")[0]
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({first}); use an earlier one") from None


def _refuse_placeholder(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(100).lstrip()
    for beginning, called in _PLACEHOLDERS.items():
        if start.startswith(beginning):
            raise CheckpointError(f"{path}: is {called}")


def read_file(path: Path) -> Any:
    """Read a file of weights, pickled or in safetensors' format.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds more than weights.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return read_pickle(path)
    _refuse_placeholder(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged, or not in safetensors' format ({reason_of(error)})") from None


def unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """Take the tensors out of a file's content: out of `model` or `state_dict`, without the prefix of DDP.

    Raises:
        CheckpointError: If there are none, or other things are among them.
    """
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: holds no named tensors; give the file that holds a model's weights")
    others = [
        str(name) for name, value in content.items() if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if others:
        raise CheckpointError(f"{path}: {listed(others)} among its weights are no tensors")
    prefix = _DISTRIBUTED if all(name.startswith(_DISTRIBUTED) for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}
