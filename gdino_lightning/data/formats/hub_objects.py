"""The `objects` of a row, as object detection on the Hugging Face hub has them, in files of any kind.

Boxes are x, y, width, height in px, as the hub's documentation has it; `objects` is a list of objects or an object of
lists; a category is a class name, or a number that the features of the dataset name.
"""

from collections.abc import Mapping, Sequence

from gdino_lightning.data.annotation import AnnotatedObject
from gdino_lightning.data.json_values import box_of, brief, label_of, list_of, mapping_of

OBJECTS = ("objects", "annotations")
_CATEGORY = ("category", "categories", "label", "labels", "class")


def objects_of(
    row: Mapping[str, object], names: Sequence[str], line: int = 0
) -> tuple[tuple[AnnotatedObject, ...], list[str]]:
    """Read the objects of a row.

    Args:
        row: Its values.
        names: Class names by number; empty where the dataset has none.
        line: Line of the row in its file, where it is one.

    Returns:
        The usable objects, and what is wrong with the others.

    Raises:
        ValueError: The row has no objects at all.
    """
    key = next((key for key in OBJECTS if key in row), None)
    if key is None:
        raise ValueError(f"{OBJECTS[0]} is missing")
    objects: list[AnnotatedObject] = []
    problems: list[str] = []
    for number, item in enumerate(_one_by_one(row[key], key), start=1):
        try:
            x, y, width, height = box_of(item.get("bbox"), "bbox", "x, y, width, height")
            objects.append(AnnotatedObject(_label(item, names), (x, y, x + width, y + height), number, line))
        except ValueError as error:
            problems.append(f"object {number}: {error}")
    return tuple(objects), problems


def _one_by_one(value: object, key: str) -> list[Mapping[str, object]]:
    if isinstance(value, Mapping):
        columns = {name: list_of(column, name) for name, column in value.items() if isinstance(column, list)}
        lengths = {len(column) for column in columns.values()}
        if "bbox" not in columns or len(lengths) != 1:
            raise ValueError(f"{key}: lists of different lengths, or no bbox among them")
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [mapping_of(item, "an object") for item in list_of([] if value is None else value, key)]


def _label(item: Mapping[str, object], names: Sequence[str]) -> str:
    key = next((key for key in _CATEGORY if key in item), None)
    if key is None:
        raise ValueError(f"{_CATEGORY[0]} is missing")
    value = item[key]
    if isinstance(value, str):
        return label_of(value, key)
    if type(value) is not int or not 0 <= value < len(names):
        raise ValueError(f"{key} {brief(value)} has no name; the features of the dataset name {len(names)} classes")
    return label_of(names[value], key)
