"""Checkpoints whose description or settings are of a stranger: loaded or refused by name, whatever stands there."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fuzzing import answer, file_of, fuzz
from hypothesis import strategies as st

from gdino_lightning.errors import CheckpointError
from gdino_lightning.inference.saved import saved_evaluation
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.pretrained import STATE_PREFIX, describe, load_pretrained, read_checkpoint

MODEL = random_nano()
CHECKPOINT = {
    "gdino": describe(GroundingDetector(MODEL), nano_tokenizer(), {"cat": "cat"}) | {"lora": None, "base": "nano"},
    "state_dict": {f"{STATE_PREFIX}{name}": tensor for name, tensor in MODEL.state_dict().items()},
    "hyper_parameters": {"top_k": 300, "token_score": "mean", "prompt_tokens": None},
    "datamodule_hyper_parameters": {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32},
    "epoch": 0,
}
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ([], {}, [1], {"a": 1}, "os.system", "../x", b"x", {"_instantiator": "os.system"}, "__import__('os')")
    ),
)


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in what is not weights."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))


PLACES = [path for path in places({**CHECKPOINT, "state_dict": {}}) if path]


def with_value(path: tuple[object, ...], value: object) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy({**CHECKPOINT, "state_dict": {}}) | {"state_dict": CHECKPOINT["state_dict"]}
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@fuzz(st.sampled_from(PLACES), odd_values, few=100)
def test_odd_values_are_loaded_or_refused(place, value):
    path = file_of(b"", "strange.ckpt")
    torch.save(with_value(place, value), path)
    for read in (load_pretrained, read_checkpoint, saved_evaluation):
        answer(lambda read=read: read(path), CheckpointError, str(path))


def test_a_window_that_would_take_all_memory_is_refused_before_it_does():
    path = file_of(b"", "strange.ckpt")
    for window in (300, 10**6):
        torch.save(with_value(("gdino", "config", "backbone_config", "window_size"), window), path)
        with pytest.raises(CheckpointError, match="at most 64 are taken"):
            load_pretrained(path)
