"""How weights want to be asked: the size of pictures and the reading of answers that they were evaluated with."""

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from gdino_lightning.errors import CheckpointError, ConfigError, reason_of
from gdino_lightning.model.folder import EvaluationSettings, read_prompt
from gdino_lightning.model.lora import ADAPTER_SUFFIX, read_adapter
from gdino_lightning.model.pretrained import read_checkpoint

logger = logging.getLogger(__name__)

# the sizes of configs/sample.yaml; pretraining drew scenes of 128 to 200 px
NANO = EvaluationSettings(short_side=192, long_side_max=192, canvas_multiple=32)
_PROCESSOR = "preprocessor_config.json"


def saved_evaluation(weights: str | Path) -> EvaluationSettings:
    """Return what was saved with weights that `load_pretrained` accepts.

    A checkpoint has the settings of its run, an exported folder its gdino.json, any other Hugging Face folder the size
    in its processor's configuration. For everything else it is how the published models were evaluated, and 192 px for
    the miniature.

    Raises:
        CheckpointError: What is saved there cannot be read.
    """
    text = str(weights)
    if text in ("nano", "nano-random"):
        return NANO
    if text.endswith(ADAPTER_SUFFIX):
        return saved_evaluation(read_adapter(Path(text))[2])
    best = Path(text) / "checkpoints" / "best.ckpt"
    if text.endswith(".ckpt") or best.is_file():
        return _of_run(Path(text) if text.endswith(".ckpt") else best)
    if exported := read_prompt(Path(text)):
        return exported.evaluation
    return _of_processor(text)


def _of_run(path: Path) -> EvaluationSettings:
    checkpoint = read_checkpoint(path)
    saved = {**checkpoint.get("hyper_parameters", {}), **checkpoint.get("datamodule_hyper_parameters", {})}
    return _settings({each.name: saved[each.name] for each in fields(EvaluationSettings) if each.name in saved}, path)


def _of_processor(source: str) -> EvaluationSettings:
    """Read the size in a folder's, or a cached hub model's, `preprocessor_config.json`."""
    path = Path(source) / _PROCESSOR
    if source.count("/") == 1 and not Path(source).exists():
        cached = try_to_load_from_cache(source, _PROCESSOR)
        path = Path(cached) if isinstance(cached, str) else path
    if not path.is_file():
        return EvaluationSettings()
    try:
        size = json.loads(path.read_bytes())["size"]
        sides = {"short_side": size["shortest_edge"], "long_side_max": size["longest_edge"]}
    except (ValueError, KeyError, TypeError):
        logger.warning("%s: says no shortest and longest edge; pictures become 800 to 1333 px as published", path)
        return EvaluationSettings()
    return _settings(sides, path)


def _settings(saved: Mapping[str, Any], path: Path) -> EvaluationSettings:
    try:
        return EvaluationSettings(**saved)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path}: {reason_of(error)}") from None
