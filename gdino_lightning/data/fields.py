"""Single values of annotation files: numbers, labels, file names and boxes, checked alike in XML and CSV.

Each parser raises `ValueError` with half a sentence that fits behind the name of the field ("is 'ten',
expected a number"); the caller puts file, line and object in front and raises `DatasetError`.
"""

import math
import re
import sys
import unicodedata

Box = tuple[float, float, float, float]
"""One box as x1, y1, x2, y2 in pixels (xyxy_px)."""

# of the project's tables; boxes are xyxy_px
COLUMNS = (
    "label_name",
    "bbox_x1",
    "bbox_y1",
    "bbox_x2",
    "bbox_y2",
    "image_name",
    "image_width",
    "image_height",
)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_SIDE_PX = 100_000
MAX_NAME = 255  # characters of a file name, more than any file system takes
MAX_LABEL = 1_000  # characters
MIN_AREA_PX = 1  # of a box in its picture; less is a slip of the hand

# ASCII only: float() and int() also take "1_0", "nan", "0x10"-like and Arabic digits
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
XML_SPACE = " \t\r\n"
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs"})  # control characters, and surrogates, which UTF-8 cannot hold


def shown(text: str, limit: int = 60) -> str:
    """Return `text` quoted and shortened, for error messages."""
    return repr(text if len(text) <= limit else text[:limit] + "...")


def parse_number(text: str) -> float:
    """Parse a plain decimal number.

    Raises:
        ValueError: The text is not a finite number written with ASCII digits.
    """
    bare = text.strip(XML_SPACE)
    if not bare:
        raise ValueError("is empty, expected a number")
    if not _NUMBER.fullmatch(bare):
        hint = " with a decimal point, not a comma" if "," in bare else ""
        raise ValueError(f"is {shown(bare)}, expected a number{hint}")
    value = float(bare)
    if not math.isfinite(value):
        raise ValueError(f"is {shown(bare)}, expected a finite number")
    return value


def parse_side(text: str) -> int:
    """Parse the width or height of a picture in pixels.

    Raises:
        ValueError: The text is not a whole number from 1 to 100,000.
    """
    value = parse_number(text)
    if not (value.is_integer() and 1 <= value <= MAX_SIDE_PX):
        raise ValueError(f"is {shown(text.strip(XML_SPACE))}, expected whole pixels from 1 to {MAX_SIDE_PX:,}")
    return int(value)


def parse_label(text: str) -> str:
    """Return a class name with outer space removed and inner runs of space made one space.

    Raises:
        ValueError: Nothing is left, it is no name any more, or it holds control characters.
    """
    if len(text) > MAX_LABEL:
        raise ValueError(f"is {shown(text)} of {len(text):,} characters, expected a class name")
    label = " ".join(text.split())
    if not label:
        raise ValueError("is empty, expected a class name")
    if _has_unsafe_characters(label):
        raise ValueError(f"is {shown(label)}, which holds control characters")
    return sys.intern(label)  # a million boxes have a few dozen names


def parse_file_name(text: str) -> str:
    r"""Return a bare file name: no folder, no drive, nothing that could leave the images folder.

    Raises:
        ValueError: The name is empty, longer than any file system takes, is "." or "..", or holds "/", "\", ":" or
            control characters, or bytes that were not UTF-8.
    """
    if len(text) > MAX_NAME:
        raise ValueError(f"is {shown(text)} of {len(text):,} characters, expected a file name")
    name = text.strip(XML_SPACE)
    if not name:
        raise ValueError("is empty, expected a file name")
    if name in {".", ".."} or any(mark in name for mark in "/\\:"):
        raise ValueError(f"is {shown(name)}, expected a bare file name without folders")
    if _has_unsafe_characters(name):
        raise ValueError(f"is {shown(name)}, expected a bare file name in UTF-8, without control characters")
    return name


def byte_order(name: str) -> bytes:
    """Sort key that is the same on every system and locale: the name's UTF-8 bytes."""
    return name.encode("utf-8", "surrogatepass")


def clip_box(box: Box, width: int, height: int) -> Box:
    """Clip one xyxy_px box to a picture of `width` x `height` px."""
    x1, y1, x2, y2 = box
    return (
        min(max(x1, 0.0), float(width)),
        min(max(y1, 0.0), float(height)),
        min(max(x2, 0.0), float(width)),
        min(max(y2, 0.0), float(height)),
    )


def box_problem(box: Box, width: int, height: int) -> str | None:
    """Say why an xyxy_px box cannot be used in a picture of `width` x `height` px; None where it can."""
    x1, y1, x2, y2 = box
    corners = f"({format_number(x1)}, {format_number(y1)}) to ({format_number(x2)}, {format_number(y2)})"
    if x1 > x2 or y1 > y2:
        return f"box {corners} ends before it starts; are the corners swapped?"
    if x1 == x2 or y1 == y2:
        return f"box {corners} has no area"
    clipped = clip_box(box, width, height)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        return f"box {corners} lies outside the picture of {width}x{height} px"
    if (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) < MIN_AREA_PX:
        return f"box {corners} covers less than one px of the picture"
    return None


def format_number(value: float) -> str:
    """Write a number as annotated: whole numbers without a decimal point, others in full precision."""
    return str(int(value)) if value.is_integer() else repr(value)


def _has_unsafe_characters(text: str) -> bool:
    return any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in text)
