"""Described Object Detection, D3 (Xie et al. 2023): AP of all descriptions, of those of presence and of absence.

Every picture is asked for every description (the inter-scenario setting), as a test asks for all its classes.
"""

from pathlib import Path

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.protocols.official import read_official, results_of, scored
from gdino_lightning.evaluation.records import RecordSet

PARTS = {"FULL": "full", "PRES": "pres", "ABS": "abs"}
_FULL = "full"


def d3_scores(found: RecordSet, annotations: Path | None) -> dict[str, float]:
    """Return AP of FULL, and of PRES and ABS where their files lie beside it; -1 where there is no box to score by.

    Args:
        found: What a test found.
        annotations: `d3_full_annotations.json`; the others have `pres` and `abs` in place of `full`.

    Raises:
        ConfigError: There is none, or it is not called so.
        DatasetError: It cannot be used, or is not of this split.
    """
    if annotations is None or _FULL not in annotations.name:
        raise ConfigError("--protocol d3 needs --annotations: d3_full_annotations.json, beside those of its parts")
    scores = {}
    for part, word in PARTS.items():
        path = annotations.with_name(annotations.name.replace(_FULL, word))
        if part == "FULL" or path.is_file():
            official = read_official(path)
            results = results_of(found, official, path, some=part != "FULL")
            scores[part] = scored(official, results, (1, 10, 100), {part: "AP_all"})[part]
    return scores
