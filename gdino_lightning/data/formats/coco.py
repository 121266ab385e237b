"""COCO JSON: files with the lists `images`, `annotations` and `categories`; boxes are x, y, width, height in px."""

import re
from collections import defaultdict
from collections.abc import Mapping

from gdino_lightning.data.annotation import AnnotatedObject, Annotation, object_place
from gdino_lightning.data.fields import Box
from gdino_lightning.data.formats.listed import ListedSource
from gdino_lightning.data.json_values import (
    box_of,
    integer_of,
    label_of,
    list_of,
    load_json,
    mapping_of,
    side_of,
    text_of,
)
from gdino_lightning.data.source import parent_of
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError

_LISTS = ("images", "annotations", "categories")
_HEAD = 4_096  # bytes that tell what a JSON file is
_FIRST_KEY = re.compile(rb'\s*\{\s*"(?:info|licenses|type|images|annotations|categories)"\s*:')
_INSTANCES = "instances_"  # of COCO itself, beside keypoints, captions and panoptic files of the same pictures


class CocoSource(ListedSource):
    """A dataset of COCO JSON files; those named after a split tell the splits."""

    format = "coco"
    layout = "COCO (*.json with images, annotations and categories, and the pictures that they name)"

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether a JSON file begins as COCO's do."""
        return bool(CocoSource._files(tree))

    @staticmethod
    def _files(tree: Tree) -> dict[str, SourceFile]:
        looks_like = {
            path: file
            for path, file in tree.with_suffix(".json").items()
            if parent_of(path).count("/") < 2 and _FIRST_KEY.match(tree.read(file)[:_HEAD])
        }
        instances = {path: file for path, file in looks_like.items() if file.name.startswith(_INSTANCES)}
        return instances or looks_like

    def _read_file(self, path: str, file: SourceFile) -> None:
        images, annotations, categories = _lists(load_json(self._read_annotation(file), file.where), file.where)
        labels = _categories(categories, file.where)
        objects: dict[int, list[AnnotatedObject]] = defaultdict(list)
        incomplete: set[int] = set()
        for number, item in enumerate(annotations, start=1):
            self._read_object(file, number, item, labels, objects, incomplete)
        known: set[int] = set()
        for number, item in enumerate(images, start=1):
            place = f"{file.where}: image {number}"
            try:
                image_id, named, size = _image(item)
                if image_id in known:
                    raise ValueError(f"id {image_id} appears twice; give each picture its own")
            except ValueError as error:
                self._refuse("annotation", "unreadable annotation", f"{place}: {error}")
                continue
            known.add(image_id)
            found = tuple(objects.pop(image_id, ()))
            annotation = Annotation(file, found, size=size, noun="annotation", incomplete=image_id in incomplete)
            self._claim(named, path, annotation)
        for image_id, lost in objects.items():
            text = f"{object_place(file, 'annotation', lost[0].number)}: image_id {image_id} is no image of the file"
            self._refuse("annotation", "annotation without its picture", f"{text} ({len(lost)} such)")

    def _read_object(
        self,
        file: SourceFile,
        number: int,
        item: object,
        labels: Mapping[int, str],
        objects: dict[int, list[AnnotatedObject]],
        incomplete: set[int],
    ) -> None:
        try:
            values = mapping_of(item, f"annotation {number}")
            image_id = integer_of(values.get("image_id"), "image_id")
        except ValueError as error:
            self._refuse("box", "unreadable object", f"{file.where}: annotation {number} of the list: {error}")
            return
        if values.get("iscrowd") in (1, True):
            self._counts["crowd regions left out: they are no boxes of one object"] += 1
            return
        try:
            own_id = integer_of(values.get("id", number), "id")
            objects[image_id].append(AnnotatedObject(_label(values, labels), _box(values), own_id))
        except ValueError as error:
            incomplete.add(image_id)
            self._refuse("box", "unreadable object", f"{file.where}: annotation {values.get('id', number)}: {error}")


def _lists(value: object, where: str) -> list[list[object]]:
    try:
        values = mapping_of(value, "the file")
        for name in _LISTS:
            if name not in values:
                raise ValueError(f"{name} is missing, and COCO has {', '.join(_LISTS)}")
        return [list_of(values[name], name) for name in _LISTS]
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error


def _categories(categories: list[object], where: str) -> dict[int, str]:
    labels: dict[int, str] = {}
    for number, item in enumerate(categories, start=1):
        try:
            values = mapping_of(item, "it")
            own_id, label = integer_of(values.get("id"), "id"), label_of(values.get("name"), "name")
            if own_id in labels:
                raise ValueError(f"id {own_id} appears twice; give each class its own")
        except ValueError as error:
            raise DatasetError(f"{where}: category {number}: {error}") from error
        labels[own_id] = label
    return labels


def _image(item: object) -> tuple[int, str, tuple[int, int] | None]:
    """The id, file name and, where it is told, (width, height) px of a picture."""
    values = mapping_of(item, "it")
    sides = [values.get("width"), values.get("height")]
    size = None if sides == [None, None] else (side_of(sides[0], "width"), side_of(sides[1], "height"))
    return integer_of(values.get("id"), "id"), text_of(values.get("file_name"), "file_name"), size


def _label(values: Mapping[str, object], labels: Mapping[int, str]) -> str:
    category = integer_of(values.get("category_id"), "category_id")
    if category not in labels:
        raise ValueError(f"category_id {category} is no category of the file")
    return labels[category]


def _box(values: Mapping[str, object]) -> Box:
    if "bbox" not in values:
        raise ValueError("bbox is missing")
    x, y, width, height = box_of(values["bbox"], "bbox", "x, y, width, height")
    return x, y, x + width, y + height
