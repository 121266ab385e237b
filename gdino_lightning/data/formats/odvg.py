"""ODVG JSON lines of Open-GroundingDino and MMDetection: `detection` with instances, `grounding` with a caption.

One picture a line; boxes are x1, y1, x2, y2 in px:

    {"filename": "a.jpg", "width": 40, "height": 30,
     "detection": {"instances": [{"bbox": [1, 2, 20, 25], "label": 0, "category": "cat"}]}}
    {"filename": "b.jpg", "width": 40, "height": 30,
     "grounding": {"caption": "a cat", "regions": [{"bbox": [1, 2, 20, 25], "phrase": "a cat"}]}}

A region may have several boxes, and `tokens_positive` (character spans) instead of a phrase that is looked for.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from gdino_lightning.data.annotation import AnnotatedCaption, AnnotatedObject, Annotation
from gdino_lightning.data.fields import Box
from gdino_lightning.data.formats.listed import ListedSource
from gdino_lightning.data.json_values import (
    box_of,
    brief,
    integer_of,
    label_of,
    list_of,
    load_json,
    load_line,
    mapping_of,
    side_of,
    span_of,
    text_of,
)
from gdino_lightning.data.source import parent_of
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError

Spans = tuple[tuple[int, int], ...]

_HEAD = 65_536
_KEYS = re.compile(rb'"filename"\s*:.*"(?:detection|grounding)"\s*:|"(?:detection|grounding)"\s*:.*"filename"\s*:')
_MOST_BYTES = 10_000_000  # of a line


class OdvgSource(ListedSource):
    """A dataset of ODVG files; those named after a split tell the splits."""

    format = "odvg"
    layout = "ODVG (*.jsonl with filename and detection or grounding, and the pictures that they name)"

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether the first line of a JSON lines file is ODVG's."""
        return bool(OdvgSource._files(tree))

    @staticmethod
    def _files(tree: Tree) -> dict[str, SourceFile]:
        return {
            path: file
            for path, file in tree.with_suffix(".jsonl").items()
            if parent_of(path).count("/") < 2 and _KEYS.search(tree.read(file)[:_HEAD].lstrip().partition(b"\n")[0])
        }

    def _read_file(self, path: str, file: SourceFile) -> None:
        labels = self._label_map(path)
        for number, line in enumerate(self._read_annotation(file).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            if line.strip():
                try:
                    values = mapping_of(load_line(line, _MOST_BYTES), "the line")
                    named, size = text_of(values.get("filename"), "filename"), _size(values)
                except ValueError as error:
                    self._refuse("annotation", "unreadable annotation", f"{file.where}:{number}: {error}")
                    continue
                objects, left_out = self._objects(values, labels, f"{file.where}:{number}")
                captions = self._captions(values, f"{file.where}:{number}")
                incomplete = left_out or ("grounding" in values and not captions)
                annotation = Annotation(file, objects, number, size=size, captions=captions, incomplete=incomplete)
                self._claim(named, path, annotation)

    def _add(self, claims: list[Annotation], annotation: Annotation) -> None:
        """Put the lines of one picture together: it often has several captions."""
        if claims:
            first = claims.pop()
            annotation = replace(
                first,
                objects=first.objects + annotation.objects,
                captions=first.captions + annotation.captions,
                incomplete=first.incomplete or annotation.incomplete,
            )
        claims.append(annotation)

    def _label_map(self, path: str) -> dict[int, str]:
        """Class names by number, of a JSON file `label_map` beside the lines; empty where there is none."""
        beside = [parent_of(path), parent_of(parent_of(path))]
        for other, file in self.tree.with_suffix(".json").items():
            if parent_of(other) in beside and "label_map" in file.name:
                try:
                    values = mapping_of(load_json(self._read_annotation(file), file.where), "the file")
                    return {int(number): label_of(label, f"class {number}") for number, label in values.items()}
                except ValueError as error:
                    raise DatasetError(f'{file.where}: {error}; write {{"0": "name", ...}}') from error
        return {}

    def _objects(
        self, values: Mapping[str, object], labels: Mapping[int, str], where: str
    ) -> tuple[tuple[AnnotatedObject, ...], bool]:
        if "detection" not in values:
            return (), False
        objects: list[AnnotatedObject] = []
        left_out = False
        try:
            instances = list_of(mapping_of(values["detection"], "detection").get("instances"), "instances")
        except ValueError as error:
            self._refuse("annotation", "unreadable annotation", f"{where}: {error}")
            return (), True
        line = int(where.rpartition(":")[2])
        for number, item in enumerate(instances, start=1):
            try:
                instance = mapping_of(item, "it")
                box = box_of(instance.get("bbox"), "bbox")
                objects.append(AnnotatedObject(_label(instance, labels), box, number, line))
            except ValueError as error:
                left_out = True
                self._refuse("box", "unreadable object", f"{where}: object {number}: {error}")
        return tuple(objects), left_out

    def _captions(self, values: Mapping[str, object], where: str) -> tuple[AnnotatedCaption, ...]:
        if "grounding" not in values:
            return ()
        try:
            grounding = mapping_of(values["grounding"], "grounding")
            text = text_of(grounding.get("caption"), "caption")
            boxes_of: dict[Spans, list[Box]] = defaultdict(list)
            for number, item in enumerate(list_of(grounding.get("regions"), "regions"), start=1):
                spans, boxes = _region(item, text, f"region {number}")
                boxes_of[spans] += boxes
        except ValueError as error:
            self._refuse("caption", "unusable caption", f"{where}: {error}")
            return ()
        boxes_px = tuple(tuple(dict.fromkeys(boxes)) for boxes in boxes_of.values())
        return (AnnotatedCaption(where, text, tuple(boxes_of), boxes_px),)


def _size(values: Mapping[str, object]) -> tuple[int, int] | None:
    sides = [values.get(name) for name in ("width", "height")]
    if sides == [None, None]:
        return None
    return side_of(sides[0], "width"), side_of(sides[1], "height")


def _label(instance: Mapping[str, object], labels: Mapping[int, str]) -> str:
    if "category" in instance:
        return label_of(instance["category"], "category")
    number = integer_of(instance.get("label"), "label", 0)
    if number not in labels:
        raise ValueError(f"label {number} has no name: give a category, or a label_map.json beside the file")
    return labels[number]


def _region(item: object, text: str, who: str) -> tuple[Spans, list[Box]]:
    region = mapping_of(item, who)
    boxes = region.get("bbox")
    nested = isinstance(boxes, list) and all(isinstance(box, list) for box in boxes)
    found = [box_of(box, f"{who}: bbox") for box in (list_of(boxes, "bbox") if nested else [boxes])]
    if "tokens_positive" in region:
        try:
            return tuple(span_of(span) for span in list_of(region["tokens_positive"], "tokens_positive")), found
        except ValueError as error:
            raise ValueError(f"{who}: {error}") from error
    return _spans_of(region.get("phrase"), text, who), found


def _spans_of(phrase: object, text: str, who: str) -> Spans:
    """Where a phrase, or each of several, stands in the caption for the first time as words of its own."""
    spans = []
    for part in phrase if isinstance(phrase, list) else [phrase]:
        wanted = text_of(part, f"{who}: phrase").strip()
        match = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE) if wanted else None
        if match is None:
            raise ValueError(f"{who}: phrase {brief(part)} is not in the caption {brief(text)}")
        spans.append(match.span())
    return tuple(spans)
