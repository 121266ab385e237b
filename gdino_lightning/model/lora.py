"""Low-rank adapters (Hu et al. 2021): few weights learn, and become part of the plain ones when they are done.

The adapters are peft's, put into the modules of transformers in place. A weight `x.weight` (out, in) is then called
`x.base_layer.weight`; beside it are `x.lora_A.default.weight` (rank, in) and `x.lora_B.default.weight` (out, rank).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gdino_lightning.errors import CheckpointError, ConfigError, reason_of
from gdino_lightning.files import write_atomic
from gdino_lightning.model.adapt import is_unused, select
from gdino_lightning.model.detector import HuggingFaceDetector, Switches

ADAPTER_SUFFIX = ".adapter.safetensors"
LAYERS = ("encoder", "decoder")
_BASE, _DOWN, _UP = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


class Lora(TypedDict):
    """Settings of the adapters, in plain types; checkpoints keep them.

    Attributes:
        rank: Rank of each update.
        alpha: The update counts `alpha / rank` times; `rank` by default.
        layers: Parts whose linear layers get one, named as in `model.freeze`, but not the heads; encoder and decoder
            by default.
    """

    rank: int
    alpha: NotRequired[int]
    layers: NotRequired[list[str]]


def add_lora(model: HuggingFaceDetector, lora: Lora, switches: Switches | None = None) -> None:
    """Put adapters into the linear layers of some parts; they alone learn from now on. Outputs stay as they are.

    Args:
        model: The detector; changed in place.
        lora: Settings.
        switches: What of the model is off and needs none.

    Raises:
        ConfigError: If a setting cannot be used, or `peft` is not installed.
    """
    _check(lora)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("model.lora needs peft: pip install 'gdino-lightning[lora]'") from error
    weights = dict(model.named_parameters())
    chosen = set().union(*(select(weights, part, "lora.layers") for part in lora.get("layers", LAYERS)))
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    targets = [name for name in linear if f"{name}.weight" in chosen and not is_unused(f"{name}.weight", switches)]
    if not targets:
        raise ConfigError("model.lora.layers names no linear layer")
    # peft asks transformers' own models for their input embeddings, which detectors do not have
    plain = nn.Module()
    for name, child in model.named_children():
        plain.add_module(name, child)
    inject_adapter_in_model(
        LoraConfig(r=lora["rank"], lora_alpha=lora.get("alpha", lora["rank"]), target_modules=targets), plain
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_adapter(name))


def merge_state(state: Mapping[str, Tensor], lora: Lora) -> dict[str, Tensor]:
    """Add the adapters to the weights they belong to: the plain weights of transformers, under their plain names.

    Args:
        state: Weights of a model with adapters, under any prefix.
        lora: What the adapters were made with.
    """
    merged = {name.replace(_BASE, "."): tensor for name, tensor in state.items() if not _is_adapter(name)}
    scale = lora.get("alpha", lora["rank"]) / lora["rank"]
    for name in state:
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + scale * state[layer + _UP] @ state[name]
    return merged


def save_adapter(state: Mapping[str, Tensor], lora: Lora, base: str, path: Path) -> None:
    """Write the adapters alone, some megabytes, with what they were made of.

    Args:
        state: Weights of a model with adapters.
        lora: What the adapters were made with.
        base: The weights they belong to, as `load_pretrained` takes them.
        path: File to write; its name ends in `ADAPTER_SUFFIX`.
    """
    adapters = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items() if _is_adapter(name)}
    write_atomic(path, save(adapters, metadata={"lora": json.dumps(lora), "base": base}))


def read_adapter(path: Path) -> tuple[dict[str, Tensor], Lora, str]:
    """Read what `save_adapter` wrote: adapters, settings, and the weights they belong to.

    Raises:
        CheckpointError: If the file is missing, damaged, or no adapter of this project.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such adapter; `ls {path.parent}` shows what is there")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            adapters = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return adapters, json.loads(about["lora"]), about["base"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, or no adapter that `fit` wrote ({reason_of(error)})") from None


def _check(lora: Lora) -> None:
    if "heads" in lora.get("layers", ()):
        # each layer's head is a module of its own with the weights of the first: adapters would part them
        raise ConfigError("model.lora.layers: all layers share the weights of the heads, they take no adapters")
    for name, value in (("rank", lora["rank"]), ("alpha", lora.get("alpha", 1))):
        if not value > 0:
            raise ConfigError(f"model.lora.{name} is {value}: it must be above 0")


def _is_adapter(name: str) -> bool:
    return name.endswith((_DOWN, _UP))
