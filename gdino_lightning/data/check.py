"""The check before anything is written: all pictures and annotations of a source, all problems at once."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from gdino_lightning.data.annotation import AnnotatedCaption, AnnotatedObject, Annotation, Problem
from gdino_lightning.data.fields import Box, box_problem, clip_box
from gdino_lightning.data.images import decode_rgb, oddity
from gdino_lightning.data.parallel import map_pictures
from gdino_lightning.data.source import Source
from gdino_lightning.data.table import Row
from gdino_lightning.data.tree import SourceFile
from gdino_lightning.errors import DatasetError, PromptError


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """A readable picture with its annotation.

    Attributes:
        picture: File of the picture.
        size: (width, height) px.
        annotation: The file that its annotation stands in.
        picture_sha256: Digest of the picture's bytes.
        annotation_sha256: Digest of that file's bytes; None where it has annotations of other pictures as well.
        rows: Its boxes as annotated, in their order; none in a negative.
        captions: Its texts with phrases.
        repeated: How many exact repetitions of a box were left out.
        matched_by_name: The annotation names no file of the source; its own name led to the picture.
        oddity: What of the picture is unlike its name or is not seen, for a warning; empty where nothing is.
    """

    picture: SourceFile
    size: tuple[int, int]
    annotation: SourceFile
    picture_sha256: str
    annotation_sha256: str | None
    rows: tuple[Row, ...]
    captions: tuple[AnnotatedCaption, ...]
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


@dataclass(frozen=True, slots=True)
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
    pictures = map_pictures(partial(_read_picture, source), source.pictures, "checking pictures", progress=progress)
    problems: list[Problem] = []
    claims = source.annotate({read.file.name: read.size for read in pictures if read.size}, problems)
    # what is checked is let go: of a million boxes one form at a time
    checked = [_check_picture(source, read, claims.pop(read.file.name, []), problems) for read in pictures]
    return Checked(
        pictures=tuple(picture for picture in checked if picture is not None),
        problems=tuple(problems),
        source_sha256=_digest_all(source, pictures),
    )


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


def _check_picture(
    source: Source, read: _ReadPicture, claims: Sequence[Annotation], problems: list[Problem]
) -> CheckedPicture | None:
    """Combine a picture with its annotation; None, and the reason in `problems`, where it cannot be used."""
    if not claims:  # the source has said so
        return None
    annotation = claims[0]
    problem = _claim_problem(read, claims) or read.problem or _size_problem(read, annotation)
    if problem:
        problems.append(problem)
        return None
    if not annotation.readable or read.size is None:  # their own problems are listed already
        return None
    good, box_problems = _check_boxes(annotation, read.size)
    captions, caption_problems = _check_captions(annotation, read.size)
    problems += box_problems + caption_problems
    distinct = list(dict.fromkeys((item.label, item.box_px) for item in good))
    if not distinct and not captions and (box_problems or caption_problems or annotation.incomplete):
        text = f"{annotation.where}: no usable box is left, and the picture is no negative"
        problems.append(Problem("picture", "no usable box left", text))
        return None
    width, height = read.size
    return CheckedPicture(
        picture=read.file,
        size=read.size,
        annotation=annotation.file,
        picture_sha256=read.sha256,
        annotation_sha256=source.digest_of(annotation.file) if annotation.own_file else None,
        rows=tuple(Row(label, box, read.file.name, width, height) for label, box in distinct),
        captions=tuple(captions),
        repeated=len(good) - len(distinct),
        matched_by_name=annotation.matched_by_name,
        oddity=read.oddity,
    )


def _claim_problem(read: _ReadPicture, claims: Sequence[Annotation]) -> Problem | None:
    if len(claims) == 1:
        return None
    claimants = " and ".join(dict.fromkeys(annotation.file.where for annotation in claims))
    text = f"{claimants}: both are for picture {read.file.name!r}; keep one"
    return Problem("picture", "several annotations for one picture", text)


def _size_problem(read: _ReadPicture, annotation: Annotation) -> Problem | None:
    if annotation.size in (None, read.size) or annotation.size is None or read.size is None:
        return None
    told_width, told_height = annotation.size
    width, height = read.size
    hint = "check the annotation"
    if (told_height, told_width) == read.size:
        hint = "swapped? was the picture turned by its EXIF orientation when it was annotated?"
    told = f"{annotation.where}: {annotation.size_name} is {told_width}x{told_height} px"
    text = f"{told}, the picture has {width}x{height}; {hint}"
    return Problem("picture", "size differs from annotation", text)


def _check_boxes(annotation: Annotation, size: tuple[int, int]) -> tuple[list[AnnotatedObject], list[Problem]]:
    labels_of: dict[Box, set[str]] = defaultdict(set)
    for item in annotation.objects:
        labels_of[item.box_px].add(item.label)
    good: list[AnnotatedObject] = []
    problems: list[Problem] = []
    for item in annotation.objects:
        problem = box_problem(item.box_px, *size)
        reason = "box without area in the picture"
        if problem is None and len(labels_of[item.box_px]) > 1:
            problem = f"the same box has the labels {', '.join(sorted(labels_of[item.box_px]))}; keep one"
            reason = "one box with several labels"
        if problem is None:
            good.append(item)
            continue
        problems.append(Problem("box", reason, f"{annotation.place(item)}: {problem}"))
    return good, problems


def _check_captions(annotation: Annotation, size: tuple[int, int]) -> tuple[list[AnnotatedCaption], list[Problem]]:
    if not annotation.captions:
        return [], []
    from gdino_lightning.prompt.captions import Caption  # with it comes torch, which takes seconds

    good: list[AnnotatedCaption] = []
    problems: list[Problem] = []
    for caption in annotation.captions:
        try:
            Caption(caption.text, caption.spans)
            found = [box_problem(box, *size) for boxes in caption.boxes_px for box in boxes]
            if any(found):
                raise PromptError(next(text for text in found if text))
            good.append(caption)
        except PromptError as error:
            problems.append(Problem("caption", "unusable caption", f"{caption.where}: {error}"))
    return good, problems


def _overhang(box: Box, width: int, height: int) -> float:
    return max(abs(a - b) for a, b in zip(box, clip_box(box, width, height), strict=True))


def _digest_all(source: Source, pictures: Iterable[_ReadPicture]) -> str:
    digest = hashlib.sha256()
    for read in pictures:
        digest.update(f"{read.file.name}\0{read.sha256}\n".encode())
    for file in source.annotations:
        digest.update(f"{file.name}\0{source.digest_of(file)}\n".encode())
    return digest.hexdigest()
