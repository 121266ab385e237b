"""The check before anything is written: all pictures and annotations of a source, all problems at once."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from tqdm import tqdm

from gdino_lightning.data.fields import Box, box_problem, clip_box
from gdino_lightning.data.images import decode_rgb, oddity
from gdino_lightning.data.source import Source, SourceFile
from gdino_lightning.data.table import Row
from gdino_lightning.data.voc import VocAnnotation, VocObject, scan_voc
from gdino_lightning.errors import DatasetError


@dataclass(frozen=True)
class Problem:
    """One thing in a source that cannot be used.

    Attributes:
        drops: What is left out for it: a box, a picture or an annotation.
        reason: The kind of problem in a few words, for counting.
        text: The full message with file, line and object.
    """

    drops: str
    reason: str
    text: str


@dataclass(frozen=True)
class CheckedPicture:
    """A readable picture with its annotation.

    Attributes:
        picture: File of the picture.
        annotation: Its XML file.
        picture_sha256: Digest of the picture's bytes.
        annotation_sha256: Digest of the XML's bytes.
        rows: Its boxes as annotated, in the order of the XML; none in a negative.
        repeated: How many exact repetitions of a box were left out.
        matched_by_name: The XML names no file of the source; its own name led to the picture.
        oddity: What of the picture is unlike its name or is not seen, for a warning; empty where nothing is.
    """

    picture: SourceFile
    annotation: SourceFile
    picture_sha256: str
    annotation_sha256: str
    rows: tuple[Row, ...]
    repeated: int
    matched_by_name: bool
    oddity: str = ""

    @property
    def overhangs_px(self) -> list[float]:
        """By how many px each box that leaves the picture does so."""
        reach = [_overhang(row.box_px, row.image_width, row.image_height) for row in self.rows]
        return [overhang for overhang in reach if overhang > 0]


@dataclass(frozen=True)
class Checked:
    """Result of `check_source`.

    Attributes:
        pictures: Usable pictures, sorted by the bytes of their names.
        problems: Everything that cannot be used, in the order of the files.
        source_sha256: Digest over names and contents of all pictures and annotations.
    """

    pictures: tuple[CheckedPicture, ...]
    problems: tuple[Problem, ...]
    source_sha256: str


@dataclass(frozen=True)
class _ReadXml:
    file: SourceFile
    sha256: str
    annotation: VocAnnotation | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _ReadPicture:
    file: SourceFile
    sha256: str
    size: tuple[int, int] | None
    problem: Problem | None
    oddity: str = ""


def check_source(source: Source, *, progress: bool = True) -> Checked:
    """Read and decode everything once and find every problem; writes nothing.

    Args:
        source: An open source.
        progress: Show a progress bar on a terminal.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        xmls = list(pool.map(lambda file: _read_xml(source, file), source.annotations))
        jobs = pool.map(lambda file: _read_picture(source, file), source.pictures)
        bar = tqdm(
            jobs,
            "checking pictures",
            len(source.pictures),
            unit="picture",
            leave=False,
            disable=None if progress else True,
        )
        pictures = list(bar)
    problems = [problem for xml in xmls for problem in xml.problems]
    claims = _find_pictures(xmls, source.pictures, problems)
    checked = [_check_picture(read, claims.get(read.file.name, []), problems) for read in pictures]
    return Checked(
        pictures=tuple(picture for picture in checked if picture is not None),
        problems=tuple(problems),
        source_sha256=_digest_all([*pictures, *xmls]),
    )


def _read_xml(source: Source, file: SourceFile) -> _ReadXml:
    digest = ""
    try:
        data = source.read(file)
        digest = hashlib.sha256(data).hexdigest()
        annotation, errors = scan_voc(data, file.where)
    except DatasetError as error:
        return _ReadXml(file, digest, None, (Problem("annotation", "unreadable annotation", str(error)),))
    problems = tuple(Problem("box", "unreadable object", str(error)) for error in errors)
    return _ReadXml(file, digest, annotation, problems)


def _read_picture(source: Source, file: SourceFile) -> _ReadPicture:
    digest = ""
    try:
        data = source.read(file)
        digest = hashlib.sha256(data).hexdigest()
        height, width, _ = decode_rgb(data, file.where).shape
        odd = oddity(data, file.name)
    except DatasetError as error:
        return _ReadPicture(file, digest, None, Problem("picture", "unreadable picture", str(error)))
    return _ReadPicture(file, digest, (width, height), None, odd)


def _find_pictures(
    xmls: Iterable[_ReadXml], pictures: Sequence[SourceFile], problems: list[Problem]
) -> dict[str, list[_ReadXml]]:
    """Return picture name -> the XML files that are for it (one, where all is well)."""
    names = {file.name for file in pictures}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for file in pictures:
        by_stem[file.stem].append(file.name)
    claims: dict[str, list[_ReadXml]] = defaultdict(list)
    for xml in xmls:
        try:
            claims[_find_picture(xml, names, by_stem)].append(xml)
        except DatasetError as error:
            problems.append(Problem("annotation", "annotation without its picture", str(error)))
    return claims


def _find_picture(xml: _ReadXml, names: set[str], by_stem: Mapping[str, list[str]]) -> str:
    """Find the picture an XML is for: by `<filename>`, else by the XML's own name.

    An unreadable XML still claims the picture of its name, so that the picture is not reported as well.
    """
    where, stem = xml.file.where, xml.file.stem
    filename = xml.annotation.filename if xml.annotation else stem
    same_stem = by_stem.get(stem, [])
    if filename in names:
        if PurePosixPath(filename).stem != stem and same_stem:
            raise DatasetError(
                f"{where}: <filename> is {filename!r}, but {same_stem[0]!r} exists as well; rename the "
                "XML or correct <filename>"
            )
        return filename
    candidates = same_stem or by_stem.get(PurePosixPath(filename).stem, [])
    if len(candidates) > 1:
        raise DatasetError(f"{where}: fits several pictures ({', '.join(candidates)}); name one in <filename>")
    if not candidates:
        raise DatasetError(f"{where}: no picture {filename!r} in images/; add the picture or remove the annotation")
    return candidates[0]


def _check_picture(read: _ReadPicture, claims: Sequence[_ReadXml], problems: list[Problem]) -> CheckedPicture | None:
    """Combine a picture with its XML; None, and the reason in `problems`, where it cannot be used."""
    problem = _claim_problem(read, claims) or read.problem or _size_problem(read, claims[0])
    if problem:
        problems.append(problem)
        return None
    xml = claims[0]
    if xml.annotation is None or read.size is None:  # their own problems are listed already
        return None
    good, box_problems = _check_boxes(xml, xml.annotation.objects, read.size)
    problems.extend(box_problems)
    distinct = list(dict.fromkeys((item.label, item.box_px) for item in good))
    if not distinct and (box_problems or xml.problems):
        text = f"{xml.file.where}: no usable box is left, and the picture is no negative"
        problems.append(Problem("picture", "no usable box left", text))
        return None
    width, height = read.size
    return CheckedPicture(
        picture=read.file,
        annotation=xml.file,
        picture_sha256=read.sha256,
        annotation_sha256=xml.sha256,
        rows=tuple(Row(label, box, read.file.name, width, height) for label, box in distinct),
        repeated=len(good) - len(distinct),
        matched_by_name=xml.annotation.filename != read.file.name,
        oddity=read.oddity,
    )


def _claim_problem(read: _ReadPicture, claims: Sequence[_ReadXml]) -> Problem | None:
    if not claims:
        text = (
            f"{read.file.where}: picture without annotation; add {read.file.stem}.xml to annotations/ "
            "(without <object> where nothing is on it) or remove the picture"
        )
        return Problem("picture", "picture without annotation", text)
    if len(claims) > 1:
        claimants = " and ".join(xml.file.where for xml in claims)
        text = f"{claimants}: both are for picture {read.file.name!r}; keep one"
        return Problem("picture", "several annotations for one picture", text)
    return None


def _size_problem(read: _ReadPicture, xml: _ReadXml) -> Problem | None:
    if xml.annotation is None or xml.annotation.size in (None, read.size) or read.size is None:
        return None
    told_width, told_height = xml.annotation.size
    width, height = read.size
    hint = "check the annotation"
    if (told_height, told_width) == read.size:
        hint = "swapped? was the picture turned by its EXIF orientation when it was annotated?"
    text = f"{xml.file.where}: <size> is {told_width}x{told_height} px, the picture has {width}x{height}; {hint}"
    return Problem("picture", "size differs from annotation", text)


def _check_boxes(
    xml: _ReadXml, objects: Sequence[VocObject], size: tuple[int, int]
) -> tuple[list[VocObject], list[Problem]]:
    labels_of: dict[Box, set[str]] = defaultdict(set)
    for item in objects:
        labels_of[item.box_px].add(item.label)
    good: list[VocObject] = []
    problems: list[Problem] = []
    for item in objects:
        problem = box_problem(item.box_px, *size)
        reason = "box without area in the picture"
        if problem is None and len(labels_of[item.box_px]) > 1:
            problem = f"the same box has the labels {', '.join(sorted(labels_of[item.box_px]))}; keep one"
            reason = "one box with several labels"
        if problem is None:
            good.append(item)
            continue
        text = f"{xml.file.where}:{item.line}: object {item.number} ({item.label}): {problem}"
        problems.append(Problem("box", reason, text))
    return good, problems


def _overhang(box: Box, width: int, height: int) -> float:
    return max(abs(a - b) for a, b in zip(box, clip_box(box, width, height), strict=True))


def _digest_all(files: Iterable[_ReadPicture | _ReadXml]) -> str:
    digest = hashlib.sha256()
    for read in files:
        digest.update(f"{read.file.name}\0{read.sha256}\n".encode())
    return digest.hexdigest()
