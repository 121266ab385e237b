"""How many layers of each kind a model has: what a table of names is written out for."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import GroundingDinoConfig, MMGroundingDinoConfig


@dataclass(frozen=True)
class Sizes:
    """Counts of layers.

    Attributes:
        blocks: Blocks of each Swin stage.
        stages: Swin stages whose features are read, from 1.
        levels: Feature levels of the transformer, those made by extra convolutions included.
        text_layers: Layers of BERT.
        encoder_layers: Layers of the feature enhancer.
        decoder_layers: Layers of the decoder.
        class_bias: Whether each head adds a learned bias to its logits, as MM-GDINO's do.
    """

    blocks: tuple[int, ...]
    stages: tuple[int, ...]
    levels: int
    text_layers: int
    encoder_layers: int
    decoder_layers: int
    class_bias: bool = False


def count_sizes(names: Iterable[str], layers: Mapping[str, str]) -> Sizes:
    """Count layers by the names of their tensors.

    Gaps do not count, and what is absent altogether counts as one: both show as missing names afterwards.

    Args:
        names: All names.
        layers: Field of `Sizes` -> regular expression with one group for the layer's number; for `blocks` two, stage
            and block; for `class_bias` none.
    """
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for name in names:
        for field, pattern in layers.items():
            if match := re.match(pattern, name):
                found[field].add(match.groups())
    depth: dict[int, int] = defaultdict(int)
    for stage, _ in found["blocks"]:
        depth[int(stage)] += 1
    blocks = tuple(count for _, count in sorted(depth.items())) or (1,)
    counts = ("levels", "text_layers", "encoder_layers", "decoder_layers")
    return Sizes(
        blocks=blocks,
        stages=tuple(sorted(int(number) + 1 for (number,) in found["stages"])) or (len(blocks),),
        class_bias=bool(found["class_bias"]),
        **{field: max(1, len(found[field])) for field in counts},
    )


def configured_sizes(config: GroundingDinoConfig | MMGroundingDinoConfig) -> Sizes:
    """Read the sizes off a transformers configuration."""
    backbone: Any = config.backbone_config
    text: Any = config.text_config
    return Sizes(
        blocks=tuple(backbone.depths),
        stages=tuple(backbone.out_indices),
        levels=config.num_feature_levels,
        text_layers=text.num_hidden_layers,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        class_bias=config.model_type == "mm-grounding-dino",
    )
