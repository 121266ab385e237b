"""State dicts between programs: by table, every tensor accounted for."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)

from gdino_lightning.errors import CheckpointError, listed
from gdino_lightning.model.adapt import is_unused
from gdino_lightning.model.convert.mmdet import MMDET
from gdino_lightning.model.convert.official import OFFICIAL
from gdino_lightning.model.convert.settings import infer_config
from gdino_lightning.model.convert.sizes import count_sizes
from gdino_lightning.model.convert.tables import SWIN, Naming, Row
from gdino_lightning.model.detector import HuggingFaceDetector

logger = logging.getLogger(__name__)

_CLASSES: dict[str, type[Any]] = {
    "grounding-dino": GroundingDinoForObjectDetection,
    "mm-grounding-dino": MMGroundingDinoForObjectDetection,
}
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # float32 holds their values exactly


@dataclass
class Converted:
    """Weights of another program as transformers has them.

    Attributes:
        model: The detector, in float32 on the CPU.
        unused: Tensors that detection does not use, by their own names: kept for the way back.
    """

    model: HuggingFaceDetector
    unused: dict[str, Tensor]


def convert(
    state: Mapping[str, Tensor],
    path: Path,
    config: GroundingDinoConfig | MMGroundingDinoConfig | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> Converted:
    """Build the transformers model that a state dict of the official code or of MMDetection belongs to.

    Args:
        state: Their names -> tensors.
        path: Where it was read; errors name it.
        config: The model's configuration where it is known; otherwise it is read off the shapes.
        extra: Tensors that only transformers has, by its names.

    Raises:
        CheckpointError: If the tensors are of another model, or one is missing, unexpected or misshaped: all listed.
    """
    naming = _naming(state, path)
    sizes = count_sizes(state, naming.layers)
    rows = list(naming.rows(sizes))
    unused = _unused(state, naming)
    rest = set(state) - {row.theirs for row in rows} - set(unused)
    buffers = {name for name in rest if re.fullmatch(naming.window_index, name)}
    _refuse(
        path,
        naming.program,
        missing=[row.theirs for row in rows if row.theirs not in state],
        unexpected=rest - buffers,
    )
    ours = _split(state, rows, path, naming.program)
    try:
        config = config or infer_config(ours, sizes)
        with torch.device("meta"):
            expected = _CLASSES[config.model_type](config).state_dict()
    except (CheckpointError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: its shapes do not tell a configuration: {error}") from None
    ours |= _unread(expected) | dict(extra or {})
    _check_shapes(state, rows, ours, expected, path, naming.program)
    _check_indices({name: state[name] for name in sorted(buffers)}, path)
    _check_copies(ours, path)
    model = _CLASSES[config.model_type](config)
    model.load_state_dict(ours)
    kept = unused if naming is OFFICIAL else {}  # there is no way back to MMDetection
    return Converted(model, {name: tensor.clone() for name, tensor in kept.items()})


def _naming(state: Mapping[str, Tensor], path: Path) -> Naming:
    for naming in (OFFICIAL, MMDET):
        if naming.mark in state:
            return naming
    if "model.text_projection.weight" in state:
        raise CheckpointError(
            f"{path}: these are transformers' names, which need a config.json and a tokenizer beside them; "
            "give the Hugging Face folder that holds the file"
        )
    raise CheckpointError(
        f"{path}: not a Grounding DINO of the official code or of MMDetection: it has neither "
        f"{OFFICIAL.mark} nor {MMDET.mark} but {listed(sorted(state), most=3)}"
    )


def _unused(state: Mapping[str, Tensor], naming: Naming) -> dict[str, Tensor]:
    """Set aside what detection does not use, and say so."""
    apart = {}
    for pattern, reason in naming.unused.items():
        names = [name for name in state if re.fullmatch(pattern, name)]
        if names:
            logger.info("not used: %s (%s)", ", ".join(patterns(names)), reason)
        apart.update({name: state[name] for name in names})
    return apart


def _split(state: Mapping[str, Tensor], rows: Iterable[Row], path: Path, program: str) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    bad = []
    for row in rows:
        tensor = state[row.theirs]
        if tensor.dtype not in _FLOATS:
            bad.append(f"{row.theirs} ({tensor.dtype} instead of float32)")
            continue
        try:
            parts = row.change.split(tensor.float())
        except (RuntimeError, IndexError):
            parts = ()
        if len(parts) == len(row.ours):
            ours.update(zip(row.ours, parts, strict=True))
        else:
            bad.append(f"{row.theirs} {list(tensor.shape)}")
    _refuse(path, program, misshaped=bad)
    return ours


def _unread(expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of transformers that nobody reads and nobody else has: Swin's last norm, as it starts."""
    start = {"weight": torch.ones, "bias": torch.zeros}
    names = [name for name in expected if name.startswith(f"{SWIN}.layernorm.") and is_unused(name)]
    return {name: start[name.rpartition(".")[2]](expected[name].shape) for name in names}


def _check_shapes(
    state: Mapping[str, Tensor],
    rows: Iterable[Row],
    ours: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
    program: str,
) -> None:
    wrong = []
    for row in rows:
        if any(_shape(expected, name) != ours[name].shape for name in row.ours):
            known = [expected[name] for name in row.ours if name in expected]
            wanted = f", expected {list(row.change.join(known).shape)}" if len(known) == len(row.ours) else ""
            wrong.append(f"{row.theirs} {list(state[row.theirs].shape)}{wanted}")
    _refuse(path, program, misshaped=wrong)
    other = [name for name in {**expected, **ours} if _shape(expected, name) != _shape(ours, name)]
    if other:
        raise CheckpointError(f"{path}: does not fit its own description: {', '.join(patterns(sorted(other)))}")


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def window_index(side: int) -> Tensor:
    """Number the offsets between any two places of a window: which row of its position table they read.

    Args:
        side: Places on a side of the window.

    Returns:
        The table, (side * side, side * side) int64, places in row order.
    """
    row, column = torch.arange(side * side) // side, torch.arange(side * side) % side
    down, right = row[:, None] - row, column[:, None] - column
    return (down + side - 1) * (2 * side - 1) + right + side - 1


def _check_indices(buffers: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a window that numbers its offsets in another way than the position tables are read here."""
    wrong = []
    for name, index in buffers.items():
        side = round(len(index) ** 0.5) if index.ndim == 2 else 0
        if not torch.equal(index, window_index(side)):
            wrong.append(name)
    if wrong:
        raise CheckpointError(f"{path}: {listed(patterns(wrong))} number the places of a window in another order")


def _check_copies(ours: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a decoder that refines boxes with other heads than it predicts them with: transformers has one of each."""
    inner = "model.decoder."
    copies = [name for name in ours if name.startswith((f"{inner}bbox_embed.", f"{inner}class_embed."))]
    parted = [name for name in copies if not torch.equal(ours[name], ours[name.removeprefix(inner)])]
    if parted:
        named = listed(patterns(parted))
        raise CheckpointError(
            f"{path}: the decoder refines boxes with other heads than it predicts them with ({named})"
        )


def _refuse(path: Path, program: str, **problems: Iterable[str]) -> None:
    """Raise one error that lists every problem, if there is any."""
    listings = {kind: patterns(sorted(names)) for kind, names in problems.items()}
    found = [f"{kind}: {', '.join(names)}" for kind, names in listings.items() if names]
    if found:
        raise CheckpointError(f"{path}: not the weights of a Grounding DINO of {program}; {'; '.join(found)}")


def patterns(names: Iterable[str]) -> list[str]:
    """Shorten a list of names without leaving any out: those that differ in numbers alone become one entry.

    `layers.0.norm.weight` and `layers.1.norm.weight` become `layers.*.norm.weight (2)`; a name alone stays as it is.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"(?<=\.)\d+(?=\.)", "*", name)].append(name)
    return [alike[0] if len(alike) == 1 else f"{pattern} ({len(alike)})" for pattern, alike in groups.items()]
