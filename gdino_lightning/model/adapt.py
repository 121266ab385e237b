"""Which part of the network a weight belongs to, what of it learns, and how much of it is dropped in training.

A part is named as the stages of the paper's figure 3 are. `PARTS` says which weights of transformers' models are meant;
the names are the same in both families.
"""

import re
from collections.abc import Iterable

from torch import nn
from transformers.models.swin.modeling_swin import SwinDropPath

from gdino_lightning.errors import ConfigError
from gdino_lightning.model.detector import HuggingFaceDetector, Switches

# The first part that matches a name owns it. The decoder holds copies of the heads.
PARTS: dict[str, str] = {
    "backbone": r"model\.backbone\.",
    "text_encoder": r"model\.text_backbone\.",
    "projections": r"model\.(input_proj_vision\.|text_projection\.|level_embed)",
    "encoder": r"model\.encoder\.",
    "query_selection": r"model\.(enc_output|encoder_output_|query_position_embeddings\.|reference_points\.)",
    "heads": r"(model\.decoder\.)?(class|bbox)_embed\.",
    "decoder": r"model\.decoder\.",
}
_LAYERS: dict[str, str] = {
    "backbone": r"model\.backbone\.conv_encoder\.model\.swin\.encoder\.layers\.(\d+)\.",
    "text_encoder": r"model\.text_backbone\.encoder\.layer\.(\d+)\.",
    "encoder": r"model\.encoder\.layers\.(\d+)\.",
    "decoder": r"model\.decoder\.layers\.(\d+)\.",
}
_EMBEDDINGS: dict[str, str] = {
    "backbone": r"model\.backbone\.conv_encoder\.model\.swin\.embeddings\.",
    "text_encoder": r"model\.text_backbone\.embeddings\.",
}
_SELECTOR = re.compile(r"(?P<part>\w+)(\.(?P<embeddings>embeddings)|\.layers\.(?P<first>\d+)(-(?P<last>\d+))?)?")


def part_of(name: str) -> str:
    """Tell which part a weight of the transformers model belongs to, by its name.

    Raises:
        ValueError: If it belongs to none: transformers has named its modules anew.
    """
    for part, pattern in PARTS.items():
        if re.match(pattern, name):
            return part
    raise ValueError(f"{name} belongs to no part of {', '.join(PARTS)}")


def select(names: Iterable[str], selector: str, key: str) -> set[str]:
    """Find the weights that a setting means.

    Args:
        names: All weights of a transformers model.
        selector: A part (`decoder`), one of its layers (`encoder.layers.2`), several (`backbone.layers.0-1`, both
            ends included; of Swin, the stages), or `.embeddings` of backbone and text encoder.
        key: The setting, for the message.

    Raises:
        ConfigError: If there is nothing of that name.
    """
    known = list(names)
    found = re.fullmatch(_SELECTOR, selector)
    part = found["part"] if found else ""
    if not found or part not in PARTS:
        raise ConfigError(f"model.{key}: there is no part {selector!r}; known are {_known(known)}")
    if found["embeddings"]:
        chosen = {name for name in known if part in _EMBEDDINGS and re.match(_EMBEDDINGS[part], name)}
    elif found["first"]:
        first, last = int(found["first"]), int(found["last"] or found["first"])
        layers = _layers(known, part)
        chosen = {name for name, layer in layers.items() if first <= layer <= last}
        if last > max(layers.values(), default=-1):
            chosen = set()
    else:
        chosen = {name for name in known if part_of(name) == part}
    if not chosen:
        raise ConfigError(f"model.{key}: {selector!r} names no weight of this model; known are {_known(known)}")
    return chosen


def is_unused(name: str, switches: Switches | None = None) -> bool:
    """Tell whether a weight is never read by the detector.

    Swin's last norm serves classification only; what the switches leave out is not read either.
    """
    if part_of(name) == "backbone":
        return ".layernorm." in name
    left_out = []
    if switches and not switches.fusion:
        left_out.append(".fusion_layer.")
    if switches and not switches.text_cross_attention:
        left_out.append(".encoder_attn_text")
    return any(part in name for part in left_out)


def freeze(model: HuggingFaceDetector, selectors: Iterable[str], switches: Switches | None = None) -> None:
    """Let what is named, and what is never read, learn no more.

    Raises:
        ConfigError: If there is nothing of a name, or nothing would be left to learn.
    """
    parameters = dict(model.named_parameters())
    frozen = {name for name in parameters if is_unused(name, switches)}
    for selector in selectors:
        frozen |= select(parameters, selector, "freeze")
    for name in frozen:
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("model.freeze names every part: nothing would learn")


def hold_frozen(model: nn.Module) -> None:
    """Put every module whose weights are all frozen into evaluation mode: its dropout and drop path are off."""
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def set_dropout(model: HuggingFaceDetector, dropout: float) -> None:
    """Set the dropout of encoder and decoder layers; published fine-tuning recipes use 0, the hub's config says 0.1."""
    model.config.dropout = dropout
    for module in (*model.model.encoder.modules(), *model.model.decoder.modules()):
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout


def set_drop_path(model: HuggingFaceDetector, rate: float) -> None:
    """Set the stochastic depth of the backbone and of the fusion layers.

    Args:
        model: The detector.
        rate: Probability that a picture skips a branch: in Swin it rises evenly from 0 in the first block to `rate`
            in the last (Huang et al. 2016, section 3); the fusion layers all have `rate`.
    """
    swin = model.model.backbone.conv_encoder.model
    for config in (model.config.backbone_config, swin.config):
        config.drop_path_rate = rate  # type: ignore[union-attr]  # a SwinConfig
    model.config.fusion_droppath = rate
    blocks = [block for stage in swin.swin.encoder.layers for block in stage.blocks]
    for index, block in enumerate(blocks):
        block.drop_path = SwinDropPath(rate * index / max(len(blocks) - 1, 1))
    for layer in model.model.encoder.layers:
        layer.fusion_layer.drop_path = SwinDropPath(rate)


def _layers(names: Iterable[str], part: str) -> dict[str, int]:
    """Weights in numbered layers of a part, and the numbers."""
    matches = {name: re.match(_LAYERS[part], name) for name in names if part in _LAYERS}
    return {name: int(match[1]) for name, match in matches.items() if match}


def _known(names: list[str]) -> str:
    """Name all that can be said, with the numbers of layers."""
    texts = []
    for part in PARTS:
        layers = _layers(names, part).values()
        texts.append(f"{part} ({part}.layers.0-{max(layers)})" if layers else part)
    return ", ".join([*texts, *(f"{part}.embeddings" for part in _EMBEDDINGS)])
