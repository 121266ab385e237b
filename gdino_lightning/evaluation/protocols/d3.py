"""Described Object Detection, D3 (Xie et al. 2023): AP of all descriptions, of those of presence and of absence.

Every picture is asked for every description (the inter-scenario setting), as a test asks for all its classes.
"""

from pathlib import Path

from gdino_lightning.errors import DatasetError
from gdino_lightning.evaluation.protocols.official import average_precision, read_official, results_of
from gdino_lightning.evaluation.records import RecordSet

PARTS = {"FULL": "full", "PRES": "pres", "ABS": "abs"}
_FULL = "full"


def d3_scores(found: RecordSet, annotations: Path | None) -> dict[str, float]:
    """Return AP of FULL, and of PRES and ABS where their files lie beside it; -1 where there is no box to score by.

    Args:
        found: What a test found.
        annotations: `d3_full_annotations.json`; the others have `pres` and `abs` in place of `full`.

    Raises:
        DatasetError: It is not called so, cannot be used, or is not of this split.
    """
    if annotations is None or _FULL not in annotations.name:
        raise DatasetError(f"{annotations}: give d3_full_annotations.json as --annotations")
    scores = {}
    for part, word in PARTS.items():
        path = annotations.with_name(annotations.name.replace(_FULL, word))
        if part == "FULL" or path.is_file():
            official = read_official(path)
            scores[part] = average_precision(official, results_of(found, official, path, some=part != "FULL"))
    return scores
