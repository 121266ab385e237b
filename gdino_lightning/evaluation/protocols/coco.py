"""COCO's twelve numbers (Lin et al. 2014, and cocodataset.org's page on detection)."""

from pathlib import Path

from gdino_lightning.evaluation.protocols.official import AP_KEYS, from_records, read_official, results_of, scored
from gdino_lightning.evaluation.records import RecordSet

_KEYS = AP_KEYS | {
    "AR1": "AR_all",
    "AR10": "AR_second",
    "AR100": "AR_third",
    "ARs": "AR_small",
    "ARm": "AR_medium",
    "ARl": "AR_large",
}


def coco_scores(found: RecordSet, annotations: Path | None) -> dict[str, float]:
    """Return the twelve numbers; -1 where there is no box to score by.

    Args:
        found: What a test found.
        annotations: COCO's own JSON of the split, with its crowds and areas of masks; None scores by the tables.

    Raises:
        DatasetError: The JSON cannot be used, or is not of this split.
    """
    official = from_records(found) if annotations is None else read_official(annotations)
    return scored(official, results_of(found, official, annotations), (1, 10, 100), _KEYS)
