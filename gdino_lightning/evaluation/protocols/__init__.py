"""How the benchmarks of the field score a test split, beyond the mAP that every validation has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from gdino_lightning.evaluation.protocols.coco import coco_scores
from gdino_lightning.evaluation.protocols.d3 import d3_scores
from gdino_lightning.evaluation.protocols.lvis import lvis_scores
from gdino_lightning.evaluation.records import RecordSet

PHRASES = "refcoco"  # asks for captions, where the others look at what a test found
ProtocolName = Literal["coco", "lvis", "refcoco", "d3"]
PROTOCOLS: Mapping[str, Callable[[RecordSet, Path | None], dict[str, float]]] = {
    "coco": coco_scores,
    "lvis": lvis_scores,
    "d3": d3_scores,
}
