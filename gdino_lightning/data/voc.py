"""Pascal VOC XML: one file in, one typed annotation out.

Hostile and broken files are refused with file and line: no DOCTYPE (so no entities and no external files), no
network, at most 10 MB, 100,000 tags and 64 of them nested. Namespaces are stripped, `<part>` boxes are not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lxml import etree

from gdino_lightning.data.annotation import AnnotatedObject
from gdino_lightning.data.fields import XML_SPACE, parse_file_name, parse_label, parse_number, parse_side, shown
from gdino_lightning.errors import DatasetError, reason_of, shortened

MAX_BYTES = 10_000_000
MAX_DEPTH = 64
MAX_TAGS = 100_000  # of 4,500 objects as published; each takes some 300 bytes of memory

_HTML = re.compile(rb"<!DOCTYPE\s+html|<html", re.IGNORECASE)
_DECLARATION = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([^"']+)""")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocAnnotation:
    """One annotation file.

    Attributes:
        name: Name of the XML file.
        filename: Picture it is for; the XML's stem without suffix where `<filename>` is missing.
        size: (width, height) in px, None where `<size>` is missing.
        objects: Usable objects in file order; none in a picture without objects.
    """

    name: str
    filename: str
    size: tuple[int, int] | None
    objects: tuple[AnnotatedObject, ...]


def scan_voc(data: bytes, name: str) -> tuple[VocAnnotation, list[DatasetError]]:
    """Parse one VOC XML file and return its good objects with one error for each bad one.

    Args:
        data: The file's bytes, in any encoding that XML knows.
        name: File name (or path) for messages; its stem stands in for a missing `<filename>`.

    Returns:
        The annotation, and the errors of objects left out of it, which name file, line and object.

    Raises:
        DatasetError: The file as a whole cannot be used.
    """
    root = _parse_tree(data, name)
    objects: list[AnnotatedObject] = []
    problems: list[DatasetError] = []
    for number, element in enumerate(_children(root, "object"), start=1):
        try:
            objects.append(_parse_object(element, number, name))
        except DatasetError as error:
            problems.append(error)
    annotation = VocAnnotation(
        name=PurePosixPath(name).name,
        filename=_parse_filename(root, name),
        size=_parse_size(root, name),
        objects=tuple(objects),
    )
    return annotation, problems


def _parse_tree(data: bytes, name: str) -> etree._Element:
    if len(data) > MAX_BYTES:
        raise DatasetError(f"{name}: {len(data):,} bytes, an annotation has at most {MAX_BYTES:,}")
    visible = data.replace(b"\0", b"")  # makes UTF-16 and UTF-32 readable enough for the checks below
    if not visible.strip():
        raise DatasetError(f"{name}: empty file, expected a VOC <annotation>")
    if _HTML.search(visible[:1000]):
        raise DatasetError(f"{name}:1: root is <html>, expected <annotation>; is it a saved web page?")
    if b"<!DOCTYPE" in visible.upper():
        raise DatasetError(f"{name}: DOCTYPE is not allowed in annotations; remove that line")
    _check_count(visible.count(b"<"), name)
    # a fresh parser each time: lxml parsers keep state and are not shared between threads
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        reason = shortened(error.msg.rsplit(", line ", 1)[0])
        if "encoding" in reason:
            reason += f" {_declared_encoding(data)}; save the file as UTF-8, or declare what it is saved as"
        raise DatasetError(f"{name}:{line}:{column}: not well-formed XML: {reason}") from error
    except (LookupError, ValueError) as error:
        raise DatasetError(f"{name}: not readable as XML: {reason_of(error)}") from error
    _check_tree(root, name)
    return root


def _declared_encoding(data: bytes) -> str:
    declared = _DECLARATION.match(data)
    return shortened(declared[1].decode("ascii", "replace")) if declared else "UTF-8"


def _check_tree(root: etree._Element, name: str) -> None:
    # encodings such as UTF-7 could hide a DOCTYPE from the search in the bytes
    if root.getroottree().docinfo.internalDTD is not None:
        raise DatasetError(f"{name}: DOCTYPE is not allowed in annotations; remove it")
    if _local_name(root) != "annotation":
        raise DatasetError(f"{name}:{_line(root)}: root is <{shortened(_local_name(root))}>, expected <annotation>")
    depth = 0
    for count, (event, element) in enumerate(etree.iterwalk(root, events=("start", "end")), start=1):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise DatasetError(f"{name}:{_line(element)}: more than {MAX_DEPTH} nested tags")
        _check_count(count, name)


def _check_count(tags: int, name: str) -> None:
    if tags > MAX_TAGS:
        raise DatasetError(f"{name}: more than {MAX_TAGS:,} tags, which is no annotation of one picture")


def _parse_filename(root: etree._Element, name: str) -> str:
    element = _only_child(root, "filename", name)
    if element is None or not _text(element).strip(XML_SPACE):
        return PurePosixPath(name).stem
    try:
        return parse_file_name(_text(element))
    except ValueError as error:
        raise DatasetError(f"{name}:{_line(element)}: <filename> {error}") from error


def _parse_size(root: etree._Element, name: str) -> tuple[int, int] | None:
    size = _only_child(root, "size", name)
    if size is None:
        return None
    sides: list[int] = []
    for tag in ("width", "height"):
        element = _required_child(size, tag, name, "<size>")
        try:
            sides.append(parse_side(_text(element)))
        except ValueError as error:
            raise DatasetError(f"{name}:{_line(element)}: <{tag}> {error}") from error
    return sides[0], sides[1]


def _parse_object(element: etree._Element, number: int, name: str) -> AnnotatedObject:
    who = f"object {number}"
    label_element = _required_child(element, "name", name, who)
    try:
        label = parse_label(_text(label_element))
    except ValueError as error:
        raise DatasetError(f"{name}:{_line(label_element)}: {who}: <name> {error}") from error
    who = f"object {number} ({shown(label)[1:-1]})"
    bndbox = _required_child(element, "bndbox", name, who)
    corners: list[float] = []
    for tag in _CORNERS:
        corner = _required_child(bndbox, tag, name, who)
        try:
            corners.append(parse_number(_text(corner)))
        except ValueError as error:
            raise DatasetError(f"{name}:{_line(corner)}: {who}: <{tag}> {error}") from error
    box = (corners[0], corners[1], corners[2], corners[3])
    return AnnotatedObject(label=label, box_px=box, number=number, line=_line(element))


def _children(element: etree._Element, tag: str) -> Iterator[etree._Element]:
    return (child for child in element.iterchildren("*") if _local_name(child) == tag)


def _only_child(element: etree._Element, tag: str, name: str) -> etree._Element | None:
    found = list(_children(element, tag))
    if len(found) > 1:
        raise DatasetError(f"{name}:{_line(found[1])}: <{tag}> appears twice, expected it once")
    return found[0] if found else None


def _required_child(element: etree._Element, tag: str, name: str, who: str) -> etree._Element:
    child = _only_child(element, tag, name)
    if child is None:
        raise DatasetError(f"{name}:{_line(element)}: {who}: <{tag}> is missing")
    return child


def _text(element: etree._Element) -> str:
    return element.text or ""


def _line(element: etree._Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def _local_name(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]  # a namespace stands in braces before the name
