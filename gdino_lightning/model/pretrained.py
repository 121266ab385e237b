"""Weights in: the miniature, a hub id, a folder, the official code's or MMDetection's file, a checkpoint, an adapter.

Whatever the source, the result is the same: a transformers model, its tokenizer, and the prompt that was saved with
the weights, if any. Nothing here runs code from a file: pickles are read with `weights_only=True` only.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
)

from gdino_lightning.errors import CheckpointError, listed, reason_of
from gdino_lightning.model.convert.files import read_file, read_pickle, unwrap
from gdino_lightning.model.convert.state import convert, patterns
from gdino_lightning.model.convert.unused import read_unused
from gdino_lightning.model.convert.words import find_tokenizer
from gdino_lightning.model.detector import GroundingDetector, HuggingFaceDetector, Switches, add_static_anchors
from gdino_lightning.model.final_stop import without_final_stop
from gdino_lightning.model.folder import read_prompt
from gdino_lightning.model.hub import cached_folder, download, refuse_url, unreachable
from gdino_lightning.model.lora import ADAPTER_SUFFIX, merge_state, read_adapter
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.nano.weights import pretrained_nano

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = "gdino"  # where a checkpoint, or an official file that we wrote, keeps what `describe` returns
UNUSED_KEY = "unused"  # in an official file's description: tensors that only transformers has
STATE_PREFIX = "detector.model."  # the transformers model inside the LightningModule's state dict
_SETTINGS_KEYS = ("hyper_parameters", "datamodule_hyper_parameters")  # of a checkpoint of Lightning
_LARGEST_WINDOW = 64  # of Swin; published ones have 7 and 12
_FILE_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")
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
        unused: Tensors of an official file that detection does not use, by their official names; kept for a way back.
    """

    model: HuggingFaceDetector
    tokenizer: Tokenizer
    phrases: dict[str, str] | None = None
    architecture: dict[str, bool] | None = None
    thresholds: dict[str, Any] | None = None
    unused: dict[str, Tensor] = field(default_factory=dict)


def load_pretrained(weights: str | Path) -> Pretrained:
    """Load weights from any accepted source.

    Args:
        weights: `nano` (the pretrained miniature) or `nano-random`, a file (a Lightning checkpoint, or weights of the
            official code or of MMDetection, whatever its name), a run folder (its best checkpoint), an adapter
            (.adapter.safetensors), a Hugging Face folder, or a hub id such as `IDEA-Research/grounding-dino-tiny`.

    Raises:
        CheckpointError: If the weights are missing, damaged, of another model, or the hub cannot be reached.
    """
    text = str(weights)
    refuse_url(text)
    if text in _MINIATURES:
        return Pretrained(_MINIATURES[text](), nano_tokenizer())
    if text.endswith(ADAPTER_SUFFIX):
        return _from_adapter(Path(text))
    if Path(text).is_file() or text.endswith(".ckpt"):
        return _from_file(Path(text))
    if (Path(text) / "checkpoints" / "best.ckpt").is_file():
        return _from_file(Path(text) / "checkpoints" / "best.ckpt")
    if Path(text).is_dir():
        return _from_hugging_face(text)
    if text.count("/") != 1 or text.startswith((".", "/", "~")) or text.endswith(_FILE_ENDINGS):
        raise CheckpointError(
            f"{text}: no such folder or file; weights are `nano`, a .ckpt or .pth file, a run folder, a Hugging Face "
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
    architecture = detector.switches.architecture
    return describe_loaded(Pretrained(detector.model, tokenizer, dict(phrases), architecture, thresholds))


def describe_loaded(loaded: Pretrained) -> dict[str, Any]:
    """Describe weights as `describe` does."""
    return {
        "config": json.loads(loaded.model.config.to_json_string(use_diff=False)),
        "tokenizer": loaded.tokenizer.to_str(),
        "phrases": loaded.phrases,
        "architecture": loaded.architecture,
        "thresholds": loaded.thresholds,
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of this project without running code from it; tensors stay on disk until used.

    Raises:
        CheckpointError: If the file is missing, damaged, hostile, or not a checkpoint of this project.
    """
    checkpoint = read_pickle(path)
    if not _is_checkpoint(checkpoint):
        raise CheckpointError(f"{path}: not a checkpoint of gdino-lightning; give one that `fit` wrote")
    for key in _SETTINGS_KEYS:
        if not isinstance(checkpoint.get(key, {}), dict):
            raise CheckpointError(f"{path}: damaged, its {key} are no settings; use another checkpoint")
    known: dict[str, Any] = checkpoint
    return known


def build_described(description: dict[str, Any], source: str = "the checkpoint") -> Pretrained:
    """Build the architecture and tokenizer that `describe` recorded, with untrained weights.

    Raises:
        CheckpointError: The description is damaged; it names `source`.
    """
    with _readable(source):
        config_class, model_class = _family(description["config"].get("model_type"), source)
        config = config_class.from_dict(description["config"])
        _check_windows(config, source)
        return _with_words(model_class(config), description)


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Turn whatever a damaged description causes, also in transformers and tokenizers, into one line."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{source}: its description is damaged ({reason_of(error)}); use another file") from None


def _with_words(model: HuggingFaceDetector, description: dict[str, Any]) -> Pretrained:
    """Give a model what was recorded with it."""
    phrases, architecture = description["phrases"], description.get("architecture")
    if architecture and not architecture["text_guided_queries"]:
        add_static_anchors(model)
    return Pretrained(
        model,
        Tokenizer.from_str(description["tokenizer"]),
        None if phrases is None else dict(phrases),
        architecture,
        description.get("thresholds"),
    )


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
        raise CheckpointError(f"{path}: does not fit {base}, its base ({reason_of(error)})") from None
    return loaded


def _from_file(path: Path) -> Pretrained:
    """Tell by its content whose file it is."""
    if path.suffix == ".safetensors" and (path.parent / "config.json").is_file():
        return _from_hugging_face(str(path.parent))
    content = read_file(path)
    if _is_checkpoint(content):
        return _from_checkpoint(content, path)
    state = unwrap(content, path)
    description = content.get(CHECKPOINT_KEY) if isinstance(content, dict) else None
    if isinstance(description, dict):
        return _from_our_official(state, description, path)
    converted = convert(state, path)
    words = converted.model.model.text_backbone.embeddings.word_embeddings.num_embeddings
    return Pretrained(converted.model, find_tokenizer(path, words), unused=converted.unused)


def _from_our_official(state: dict[str, Tensor], description: dict[str, Any], path: Path) -> Pretrained:
    """Load an official file that `export_official` wrote, with its words."""
    with _readable(str(path)):
        config_class, _ = _family(description["config"]["model_type"], str(path))
        converted = convert(state, path, config_class.from_dict(description["config"]), description[UNUSED_KEY])
        loaded = _with_words(converted.model, description)
    loaded.unused = converted.unused
    return loaded


def _is_checkpoint(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(key), dict) for key in (CHECKPOINT_KEY, "state_dict")
    )


def _from_checkpoint(checkpoint: dict[str, Any], path: Path) -> Pretrained:
    loaded = build_described(checkpoint[CHECKPOINT_KEY], str(path))
    state = {
        name.removeprefix(STATE_PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if isinstance(name, str) and name.startswith(STATE_PREFIX)
    }
    if lora := checkpoint[CHECKPOINT_KEY].get("lora"):
        with _readable(str(path)):
            state = merge_state(state, lora)
    expected = loaded.model.state_dict().keys()
    missing, unknown = sorted(expected - state.keys()), sorted(state.keys() - expected)
    if missing or unknown:
        raise CheckpointError(
            f"{path}: its weights do not fit its own description: {len(missing)} are missing and {len(unknown)} "
            f"unknown ({listed(missing + unknown, most=5)}); use another checkpoint"
        )
    try:
        loaded.model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its weights do not fit its own description: {reason_of(error)}") from None
    return loaded


def _from_hub(name: str) -> Pretrained:
    """Load from the cache where it is complete, else from the hub, after one short look whether it answers."""
    folder = cached_folder(name)
    if folder and list(folder.glob("*.safetensors")):
        return _from_hugging_face(str(folder))
    if reason := unreachable():
        raise CheckpointError(
            f"{name}: no such folder, not in the cache, and the hub did not answer ({reason}); either download it "
            "where there is a network and give the folder (--model.weights path/to/folder), or try everything offline "
            "with --config configs/sample.yaml"
        )
    return _from_hugging_face(str(download(name)))


def _from_hugging_face(source: str) -> Pretrained:
    try:
        _check_index(Path(source))
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        _, model_class = _family(config.model_type, source)
        _check_windows(config, source)
        model, report = model_class.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, use_safetensors=True, trust_remote_code=False
        )
        words = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        tokenizer = without_final_stop(words.backend_tokenizer)
    except CheckpointError:
        raise
    except Exception as error:  # whatever transformers trips over in a folder of others
        raise CheckpointError(
            f"{source}: cannot be loaded as a Hugging Face Grounding DINO ({reason_of(error)})"
        ) from None
    _check_report(source, report)
    _check_heads(source, model)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    loaded = Pretrained(model, tokenizer, unused=read_unused(Path(source)))
    if saved := read_prompt(Path(source)):
        loaded.phrases, loaded.architecture, loaded.thresholds = saved.phrases, saved.architecture, saved.thresholds
    return loaded


def _check_index(folder: Path) -> None:
    """Refuse an index of weight files that are not in the folder itself."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    try:
        files = set(json.loads(path.read_bytes())["weight_map"].values())
        outside = sorted(name for name in files if Path(name).name != name or "\\" in name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({reason_of(error)}); download the folder again") from None
    if outside:
        raise CheckpointError(f"{path}: names {listed(map(repr, outside), 3)}, not of its folder; it is not read")


def _check_report(source: str, report: dict[str, Any]) -> None:
    """Refuse a folder in which a weight is missing or misshaped; transformers would draw it at random."""
    # `swin.layernorm` normalises nothing here (detection reads the stages) and is absent from released weights.
    if report["unexpected_keys"]:
        logger.warning("%s: not used: %s", source, ", ".join(patterns(sorted(report["unexpected_keys"]))))
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


def _check_windows(config: Any, source: str) -> None:
    """Refuse a number by which a small file would take all memory: Swin keeps a table of `window_size` to the fourth.

    Raises:
        CheckpointError: It is beyond what any window has.
    """
    window = getattr(config.backbone_config, "window_size", 0)
    if isinstance(window, int) and window > _LARGEST_WINDOW:
        raise CheckpointError(
            f"{source}: window_size is {window}, at most {_LARGEST_WINDOW} are taken; use another file"
        )


def _family(model_type: str | None, source: str) -> tuple[type[Any], type[Any]]:
    if model_type not in _FAMILIES:
        raise CheckpointError(f"{source}: model_type is {model_type!r}, expected one of {', '.join(_FAMILIES)}")
    return _FAMILIES[model_type]
