"""Weights in: the miniature, a hub id, a Hugging Face folder, a Lightning checkpoint, a run folder or an adapter.

Whatever the source, the result is the same triple: a transformers model, its tokenizer, and the prompt that was saved
with the weights, if any. Nothing here runs code from a file: pickles are read with `weights_only=True` only.
"""

import json
import logging
import pickle
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, snapshot_download
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)

from gdino_lightning.errors import CheckpointError, listed
from gdino_lightning.model.detector import GroundingDetector, HuggingFaceDetector, Switches, add_static_anchors
from gdino_lightning.model.lora import ADAPTER_SUFFIX, merge_state, read_adapter
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.nano.weights import pretrained_nano

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = "gdino"  # where a Lightning checkpoint keeps what `describe` returns
HUB_TIMEOUT_S = 5
STATE_PREFIX = "detector.model."  # the transformers model inside the LightningModule's state dict
_MINIATURES: dict[str, Callable[[], HuggingFaceDetector]] = {"nano": pretrained_nano, "nano-random": random_nano}
_FAMILIES: dict[str, tuple[type[Any], type[Any]]] = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


@dataclass
class Pretrained:
    """A model with its words.

    Attributes:
        model: The transformers detector, in float32 on the CPU.
        tokenizer: Its WordPiece tokenizer, without truncation or padding.
        phrases: Class name -> wording saved with the weights; None for weights that know no classes.
        architecture: `Switches.architecture` that the weights were trained with; None for published weights, all on.
        thresholds: The calibrated working point saved with the phrases, in plain types; None where there is none.
    """

    model: HuggingFaceDetector
    tokenizer: Tokenizer
    phrases: dict[str, str] | None = None
    architecture: dict[str, bool] | None = None
    thresholds: dict[str, Any] | None = None


def load_pretrained(weights: str | Path) -> Pretrained:
    """Load weights from any accepted source.

    Args:
        weights: `nano` (the pretrained miniature) or `nano-random`, a Lightning checkpoint (.ckpt), a run folder (its
            best checkpoint), an adapter (.adapter.safetensors), a Hugging Face folder, or a hub id such as
            `IDEA-Research/grounding-dino-tiny`.

    Raises:
        CheckpointError: If the weights are missing, damaged, of another model, or the hub cannot be reached.
    """
    text = str(weights)
    if text in _MINIATURES:
        return Pretrained(_MINIATURES[text](), nano_tokenizer())
    if text.endswith(".ckpt"):
        return _from_checkpoint(Path(text))
    if text.endswith(ADAPTER_SUFFIX):
        return _from_adapter(Path(text))
    if (Path(text) / "checkpoints" / "best.ckpt").is_file():
        return _from_checkpoint(Path(text) / "checkpoints" / "best.ckpt")
    if text.endswith((".pth", ".pt", ".safetensors", ".bin")):
        raise CheckpointError(
            f"{text}: single weight files are not read yet; give the Hugging Face folder that holds it, or a .ckpt"
        )
    if Path(text).is_dir():
        return _from_hugging_face(text)
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise CheckpointError(
            f"{text}: no such folder or checkpoint; weights are `nano`, a .ckpt file, a run folder, a Hugging Face "
            "folder, or a hub id such as IDEA-Research/grounding-dino-tiny"
        )
    return _from_hub(text)


def describe(
    detector: GroundingDetector,
    tokenizer: Tokenizer,
    phrases: dict[str, str],
    thresholds: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a model in plain types, enough to rebuild it offline; stored in every checkpoint."""
    return {
        "config": json.loads(detector.model.config.to_json_string(use_diff=False)),
        "tokenizer": tokenizer.to_str(),
        "phrases": dict(phrases),
        "architecture": detector.switches.architecture,
        "thresholds": thresholds,
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of this project without running code from it; tensors stay on disk until used.

    Raises:
        CheckpointError: If the file is missing, damaged, hostile, or not a checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `ls {path.parent}` shows what is there")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it holds more than weights and plain values ({_first_line(error)})"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or not a checkpoint ({_first_line(error)}); use an earlier one"
        ) from None
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of gdino-lightning; give one that `fit` wrote")
    return checkpoint


def build_described(description: dict[str, Any]) -> Pretrained:
    """Build the architecture and tokenizer that `describe` recorded, with untrained weights."""
    config_class, model_class = _family(description["config"].get("model_type"), "the checkpoint")
    model = model_class(config_class.from_dict(description["config"]))
    architecture = description.get("architecture", Switches().architecture)
    if not architecture["text_guided_queries"]:
        add_static_anchors(model)
    tokenizer = Tokenizer.from_str(description["tokenizer"])
    return Pretrained(model, tokenizer, dict(description["phrases"]), architecture, description.get("thresholds"))


def check_same_phrases(saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse a prompt other than the one that was saved: class indices would silently mean other classes.

    Raises:
        CheckpointError: If a class, a wording or their order differs.
    """
    if list(saved.items()) != list(wanted.items()):
        raise CheckpointError(
            f"the checkpoint was trained with phrases {{{_pairs(saved)}}}, asked for are {{{_pairs(wanted)}}}: leave "
            "--model.phrases out, or start a new run with --model.weights and this checkpoint"
        )


def check_same_architecture(saved: Mapping[str, bool] | None, switches: Switches, *, resumed: bool = False) -> None:
    """Refuse to run weights with a part that was off when they were trained.

    Args:
        saved: `Switches.architecture` of the weights; None for published ones, all on.
        switches: What is asked for.
        resumed: A run goes on or is scored: then nothing that was on may be off, either.

    Raises:
        CheckpointError: If a switch differs.
    """
    then = saved or Switches().architecture
    off = [name for name, on in then.items() if not on and switches.architecture[name]]
    if off:
        flags = " ".join(f"--model.{name} false" for name in off)
        raise CheckpointError(f"the weights were trained without {', '.join(off)}, which would be on now: add {flags}")
    on = [name for name, was_on in then.items() if was_on and not switches.architecture[name]]
    if resumed and on:
        raise CheckpointError(
            f"the checkpoint was trained with {', '.join(on)}, which would be off now: leave the flags out, or start a "
            "new run with --model.weights and this checkpoint"
        )


def _pairs(phrases: Mapping[str, str]) -> str:
    return listed(f"{name}: {wording}" for name, wording in phrases.items())


def _from_adapter(path: Path) -> Pretrained:
    """Load the weights an adapter was made of and add it to them."""
    adapters, lora, base = read_adapter(path)
    loaded = load_pretrained(base)
    try:
        loaded.model.load_state_dict(merge_state(loaded.model.state_dict() | adapters, lora))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit {base}, its base ({_first_line(error)})") from None
    return loaded


def _from_checkpoint(path: Path) -> Pretrained:
    checkpoint = read_checkpoint(path)
    loaded = build_described(checkpoint[CHECKPOINT_KEY])
    state = {
        name.removeprefix(STATE_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(STATE_PREFIX)
    }
    if lora := checkpoint[CHECKPOINT_KEY].get("lora"):
        state = merge_state(state, lora)
    try:
        loaded.model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit its own description: {error}") from None
    return loaded


def _from_hub(name: str) -> Pretrained:
    """Load from the cache where it is complete, else from the hub, after one short look whether it answers."""
    snapshot: str | None = None
    try:
        snapshot = snapshot_download(name, local_files_only=True)
    except (OSError, ValueError):
        logger.info("%s is not in the cache: asking the hub", name)
    if snapshot and list(Path(snapshot).glob("*.safetensors")):
        return _from_hugging_face(snapshot)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _unreachable(constants.ENDPOINT)
    if reason:
        raise CheckpointError(
            f"{name}: no such folder, not in the cache, and the hub did not answer ({reason}); either download it "
            "where there is a network and give the folder (--model.weights path/to/folder), or try everything offline "
            "with --config configs/sample.yaml"
        )
    return _from_hugging_face(name)


def _unreachable(url: str) -> str | None:
    """Return why `url` does not answer within some seconds; None if it does, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return _first_line(error)
    return None


def _from_hugging_face(source: str) -> Pretrained:
    try:
        config = AutoConfig.from_pretrained(source)
        _, model_class = _family(config.model_type, source)
        model, report = model_class.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source}: cannot be loaded as a Hugging Face Grounding DINO ({_first_line(error)})"
        ) from None
    _check_report(source, report)
    _check_heads(source, model)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Pretrained(model, tokenizer)


def _check_report(source: str, report: dict[str, Any]) -> None:
    """Refuse a folder in which a weight is missing or misshaped; transformers would draw it at random."""
    # `swin.layernorm` normalises nothing here (detection reads the stages) and is absent from released weights.
    missing = sorted(name for name in report["missing_keys"] if ".layernorm." not in name)
    wrong = sorted(str(item) for item in report.get("mismatched_keys", ()))
    if missing or wrong:
        first = listed(missing + wrong, most=5)
        raise CheckpointError(
            f"{source}: {len(missing)} weights are missing and {len(wrong)} have another shape ({first}); "
            "the folder holds another architecture than its config.json says"
        )


def _check_heads(source: str, model: HuggingFaceDetector) -> None:
    """Refuse a model whose decoder refines boxes with other heads than it predicts them with.

    transformers shares all heads unless config.json says otherwise, and overwrites the decoder's copies with the first.
    """
    heads, copies = model.bbox_embed.state_dict(), model.model.decoder.bbox_embed.state_dict()
    if not all(torch.equal(heads[name], copies[name]) for name in heads):
        raise CheckpointError(
            f"{source}: every decoder layer has a box head of its own, which config.json does not say; add "
            '"decoder_bbox_embed_share": false (and "decoder_cls_embed_share": false) to it'
        )


def _family(model_type: str | None, source: str) -> tuple[type[Any], type[Any]]:
    if model_type not in _FAMILIES:
        raise CheckpointError(f"{source}: model_type is {model_type!r}, expected one of {', '.join(_FAMILIES)}")
    return _FAMILIES[model_type]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
