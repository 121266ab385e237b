"""Weights out for the official code: a `.pth` whose `model` its `load_model` reads."""

import filecmp
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gdino_lightning.errors import CheckpointError
from gdino_lightning.files import part_of
from gdino_lightning.model.convert.official import OFFICIAL
from gdino_lightning.model.convert.sizes import configured_sizes
from gdino_lightning.model.convert.state import window_index
from gdino_lightning.model.pretrained import CHECKPOINT_KEY, UNUSED_KEY, Pretrained, describe_loaded


def export_official(loaded: Pretrained, path: Path, *, source: str) -> None:
    """Write weights under the official code's names.

    What is no tensor of the official model (configuration, tokenizer, phrases, thresholds, Swin's last norm) lies in
    the same file beside `model`, where the official code does not look and `load_pretrained` does. BERT's pooler, which
    neither reads, is there only if the weights came from a file that had it.

    Args:
        loaded: Weights of a Grounding DINO, not of an MM-GDINO.
        path: File to write.
        source: Where the weights came from, as the user gave it.

    Raises:
        CheckpointError: The official code cannot run the weights, or another file is at `path`.
        OSError: The file cannot be written.
    """
    _check(loaded, source)
    state, rest = official_state(loaded)
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": state, CHECKPOINT_KEY: describe_loaded(loaded) | {UNUSED_KEY: rest}}, part)
        if path.exists() and not (path.is_file() and filecmp.cmp(part, path, shallow=False)):
            raise CheckpointError(f"{path}: is there already and holds something else; choose another --output")
        part.replace(path)
    except RuntimeError as error:  # what torch makes of a file that cannot be written
        raise CheckpointError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from None
    finally:
        part.unlink(missing_ok=True)


def official_state(loaded: Pretrained) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors by their official names, and by ours those that the official model has not."""
    config = loaded.model.config
    ours = {name: tensor.detach().cpu().contiguous() for name, tensor in loaded.model.state_dict().items()}
    state = {}
    for row in OFFICIAL.rows(configured_sizes(config)):
        state[row.theirs] = row.change.join([ours.pop(name) for name in row.ours])
    backbone: Any = config.backbone_config
    index = window_index(backbone.window_size)
    for stage, depth in enumerate(backbone.depths):
        for block in range(depth):
            state[f"backbone.0.layers.{stage}.blocks.{block}.attn.relative_position_index"] = index
    return state | loaded.unused, ours


def _check(loaded: Pretrained, source: str) -> None:
    if loaded.model.config.model_type != "grounding-dino":
        raise CheckpointError(
            f"{source}: an MM-GDINO adds a learned bias to its logits, which the official code does not; "
            "use --format hf"
        )
    off = [name for name, on in (loaded.architecture or {}).items() if not on]
    if off:
        raise CheckpointError(
            f"{source}: was trained without {', '.join(off)}, and the official code would run with it; "
            "use the checkpoint with gdino-lightning"
        )
