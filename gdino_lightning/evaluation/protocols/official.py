"""A benchmark's own JSON as the truth, and the detections of a test in its numbers.

The tables keep boxes and labels. What a benchmark knows besides, crowds, areas of masks, classes that were not looked
for, is in its JSON alone, so that is what its protocol scores by.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster

from gdino_lightning.data.json_values import load_json
from gdino_lightning.errors import DatasetError, listed
from gdino_lightning.evaluation.records import PictureRecord, RecordSet

_KEYS = {
    "images": ("id",),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
    "categories": ("id", "name"),
}
AP_KEYS = {
    "AP": "AP_all",
    "AP50": "AP_50",
    "AP75": "AP_75",
    "APs": "AP_small",
    "APm": "AP_medium",
    "APl": "AP_large",
}
"""Names of AP, over all and by IoU and size, and their keys in faster-coco-eval."""

Json = dict[str, Any]


def read_official(path: Path) -> Json:
    """Read the JSON of a benchmark.

    Raises:
        DatasetError: It cannot be read, or lacks what COCO's have.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); give the benchmark's JSON") from error
    found = load_json(data, str(path))
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in _KEYS):
        raise DatasetError(f"{path}: is no JSON of a benchmark, which has the lists {', '.join(_KEYS)}")
    for name, keys in _KEYS.items():
        for each in found[name]:
            if lacking := next((key for key in keys if not isinstance(each, dict) or key not in each), None):
                raise DatasetError(f"{path}: {name}: {str(each)[:60]} has no {lacking}")
    for each in found["annotations"]:
        if not _is_box(each["bbox"]):
            raise DatasetError(f"{path}: annotations: {str(each)[:60]}: bbox is not [x, y, width, height]")
    return found


def from_records(found: RecordSet) -> Json:
    """Return the truth of a test as a benchmark would have it."""
    truth = [
        (record.image_id, label, box)
        for record in found.records
        for label, box in zip(record.truth_labels.tolist(), record.truth_boxes.tolist(), strict=True)
    ]
    pictures = zip(found.records, found.picture_names, strict=True)
    return {
        "images": [{"id": record.image_id, "file_name": name} for record, name in pictures],
        "categories": [{"id": index, "name": name} for index, name in enumerate(found.class_names)],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": label,
                "bbox": _xywh(box),
                "area": (box[2] - box[0]) * (box[3] - box[1]),
                "iscrowd": 0,
            }
            for number, (image_id, label, box) in enumerate(truth, start=1)
        ],
    }


def results_of(found: RecordSet, official: Json, where: object, *, some: bool = False) -> list[Json]:
    """Return the detections of a test with the ids of a benchmark, in order of score for each picture.

    Args:
        found: What a test found.
        official: The JSON of the benchmark.
        where: It, for messages.
        some: It is of some of the test's classes; detections of others are left out.

    Raises:
        DatasetError: Pictures or classes of one are not in the other.
    """
    ids = {_file_name(each): each["id"] for each in official["images"]}
    if missing := [name for name in found.picture_names if name not in ids]:
        raise DatasetError(f"{where}: does not name the test's pictures {listed(missing)}; give the JSON of this split")
    if untested := sorted(ids.keys() - set(found.picture_names)):
        raise DatasetError(
            f"{where}: {len(untested):,} of its {len(ids):,} pictures were not tested ({listed(untested, 3)}); prepare "
            "and test the whole split"
        )
    categories = {" ".join(str(each["name"]).split()): each["id"] for each in official["categories"]}
    unknown = [name for name in found.class_names if name not in categories]
    if unknown and not some:
        raise DatasetError(f"{where}: has no category {listed(unknown)}; name the classes as it does (words: phrases)")
    numbers = [categories.get(name) for name in found.class_names]
    records = zip(found.records, found.picture_names, strict=True)
    return [each for record, name in records for each in _results(record, ids[name], numbers)]


def scored(
    official: Json, results: Sequence[Json], most: Sequence[int], keys: Mapping[str, str], *, lvis: bool = False
) -> dict[str, float]:
    """Return numbers of faster-coco-eval, equal to pycocotools: 0 if nothing was found, -1 if nothing is there.

    Args:
        official: The truth.
        results: The detections.
        most: Detections of a class in a picture that count, in rising order.
        keys: Name of a number -> its key in faster-coco-eval.
        lvis: Score a class on the pictures where it was looked for (federated).
    """
    if not results or not official["annotations"]:
        return dict.fromkeys(keys, 0.0 if official["annotations"] else -1.0)
    truth = COCO(official)
    evaluation = COCOeval_faster(
        truth, truth.loadRes(list(results)), iouType="bbox", lvis_style=lvis, print_function=lambda *_: None
    )
    evaluation.params.maxDets = list(most)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {name: float(evaluation.stats_as_dict[key]) for name, key in keys.items()}


def _results(record: PictureRecord, image_id: int, numbers: Sequence[int | None]) -> list[Json]:
    return [
        {"image_id": image_id, "category_id": numbers[label], "bbox": _xywh(box), "score": score}
        for box, score, label in zip(record.boxes.tolist(), record.scores.tolist(), record.labels.tolist(), strict=True)
        if numbers[label] is not None
    ]


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(side, int | float) for side in value)


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _file_name(image: Mapping[str, Any]) -> str:
    """The bare name of a picture; LVIS has its address alone."""
    return PurePosixPath(str(image.get("file_name") or image.get("coco_url", ""))).name
