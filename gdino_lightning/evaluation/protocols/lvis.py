"""LVIS (Gupta et al. 2019, section 3): a class is scored on the pictures where it was looked for.

A picture has positive classes, with all their boxes unless the class is marked as not exhaustive there, and negative
ones, of which there is none. Detections of other classes do not count, nor do unmatched ones of classes that are not
exhaustive.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gdino_lightning.errors import ConfigError, DatasetError
from gdino_lightning.evaluation.protocols.official import AP_KEYS, Json, read_official, results_of, scored
from gdino_lightning.evaluation.records import RecordSet

MOST_IN_PICTURE = 300  # detections of all classes
MOST_OF_CLASS = 10_000  # detections of a class in all pictures, for fixed AP
_KEYS = AP_KEYS | {"APr": "APr", "APc": "APc", "APf": "APf"}
_FIXED = {"fixed AP": "AP_all", "fixed APr": "APr", "fixed APc": "APc", "fixed APf": "APf"}


def lvis_scores(found: RecordSet, annotations: Path | None) -> dict[str, float]:
    """Return LVIS' numbers, of rare, common and frequent classes too, and fixed AP; -1 where there is no box.

    AP takes the best 300 detections of a picture. Fixed AP (Dave et al. 2021) takes the best 10,000 of each class
    instead, as far as `model.top_k` keeps them.

    Args:
        found: What a test found.
        annotations: LVIS' own JSON of the split.

    Raises:
        ConfigError: There is none: what was looked for where is in it alone.
        DatasetError: It cannot be used, or is not of this split.
    """
    if annotations is None:
        raise ConfigError("--protocol lvis needs --annotations, LVIS' own JSON: it knows what was looked for where")
    official = read_official(annotations)
    _check_federated(official, annotations)
    results = results_of(found, official, annotations)
    usual = scored(official, _best(results, "image_id", MOST_IN_PICTURE), [MOST_IN_PICTURE], _KEYS, lvis=True)
    fixed = scored(official, _best(results, "category_id", MOST_OF_CLASS), [MOST_OF_CLASS], _FIXED, lvis=True)
    return usual | fixed


def _check_federated(official: Json, where: Path) -> None:
    for name, keys in (("categories", ("frequency",)), ("images", ("neg_category_ids", "not_exhaustive_category_ids"))):
        for each in official[name]:
            if lacking := [key for key in keys if key not in each]:
                raise DatasetError(f"{where}: {name}, id {each['id']}: no {lacking[0]}; give LVIS' own JSON (v1)")


def _best(results: Sequence[Json], group: str, most: int) -> list[Json]:
    """The best detections of each picture or of each class."""
    groups: dict[int, list[Json]] = defaultdict(list)
    for each in sorted(results, key=lambda result: -result["score"]):
        if len(groups[each[group]]) < most:
            groups[each[group]].append(each)
    return [each for members in groups.values() for each in members]
