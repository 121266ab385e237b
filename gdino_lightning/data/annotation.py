"""What a source says of one picture, whatever its format: the one record that readers give and writers take."""

from dataclasses import dataclass, field

from gdino_lightning.data.fields import Box, shown
from gdino_lightning.data.tree import SourceFile


@dataclass(frozen=True)
class Problem:
    """One thing in a source that cannot be used.

    Attributes:
        drops: What is left out for it: a box, a caption, a picture or an annotation.
        reason: The kind of problem in a few words, for counting.
        text: The full message with file, line and object.
    """

    drops: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """One annotated object.

    Attributes:
        label: Class name, outer space removed.
        box_px: xyxy_px as annotated, not clipped.
        number: Its number in the file, for messages: its place, from 1, or an id.
        line: Its line in the file, 0 where it has none.
    """

    label: str
    box_px: Box
    number: int
    line: int = 0


@dataclass(frozen=True)
class AnnotatedCaption:
    """One free text with boxes for its phrases.

    Attributes:
        where: File and line, for messages.
        text: The caption.
        spans: For each phrase its (start, end) character spans.
        boxes_px: For each phrase its xyxy_px boxes as annotated; none where the picture does not show it.
    """

    where: str
    text: str
    spans: tuple[tuple[tuple[int, int], ...], ...]
    boxes_px: tuple[tuple[Box, ...], ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one place of a source says of one picture.

    Attributes:
        file: The file it stands in.
        objects: Usable objects in their order; none in a picture without objects.
        line: Its line there, 0 where the whole file is meant.
        size: (width, height) in px, None where it is not told.
        size_name: How the file calls that size.
        noun: What the numbers of its objects count.
        captions: Texts with phrases.
        own_file: The file is this picture's alone, and is kept beside the picture.
        matched_by_name: It names no picture of the source; its own name led to it.
        readable: It could be read; where not, it only says which picture it is for.
        incomplete: Objects were left out, so that a picture with none is no negative.
    """

    file: SourceFile
    objects: tuple[AnnotatedObject, ...] = ()
    line: int = 0
    size: tuple[int, int] | None = None
    size_name: str = "size"
    noun: str = "object"
    captions: tuple[AnnotatedCaption, ...] = field(default=(), repr=False)
    own_file: bool = False
    matched_by_name: bool = False
    readable: bool = True
    incomplete: bool = False

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.file.where}:{self.line}" if self.line else self.file.where

    def place(self, item: AnnotatedObject) -> str:
        """File, line, number and label of an object, for messages."""
        return object_place(self.file, self.noun, item.number, item.label, item.line)


def object_place(file: SourceFile, noun: str, number: int, label: str = "", line: int = 0) -> str:
    """Name an object for a message: `a.xml:4: object 1 (cat)`."""
    place = f"{file.where}:{line}" if line else file.where
    of_class = f" ({shown(label)[1:-1]})" if label else ""
    return f"{place}: {noun} {number}{of_class}"
