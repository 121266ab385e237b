"""Values of JSON files, checked: what a file may hold is said once, for every format that is JSON.

Each checker raises `ValueError` with a sentence that fits behind file and line.
"""

import json
from collections.abc import Mapping, Sequence

from gdino_lightning.data.fields import Box, parse_label, parse_number, parse_side, shown
from gdino_lightning.errors import DatasetError


def load_json(data: bytes, where: str) -> object:
    """Decode a JSON file.

    Raises:
        DatasetError: It is no UTF-8 or no JSON; names the line.
    """
    try:
        text = data.decode("utf-8-sig")
        value: object = json.loads(text, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{where}:{line}: is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DatasetError(f"{where}:{error.lineno}:{error.colno}: no JSON ({error.msg}); correct the file") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in one another
        raise DatasetError(f"{where}: no usable JSON ({_why(error)}); correct the file") from error
    return value


def load_line(line: bytes, most_bytes: int) -> object:
    """Decode one line of JSON lines; keys must differ, and numbers be finite.

    Raises:
        ValueError: It is longer than `most_bytes`, no UTF-8 or no JSON.
    """
    if len(line) > most_bytes:
        raise ValueError(f"{len(line):,} bytes, a line has at most {most_bytes:,}; shorten it or remove the line")
    try:
        value: object = json.loads(
            line.decode(),
            object_pairs_hook=_distinct,
            parse_int=lambda text: int(_number(text)),
            parse_float=_number,
            parse_constant=_number,
        )
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON at column {error.colno} ({error.msg}); write one object on each line") from error
    except RecursionError as error:
        raise ValueError("too many brackets in one another; remove the line") from error
    return value


def brief(value: object) -> str:
    """A JSON value as it is written, shortened."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def list_of(value: object, name: str) -> list[object]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {brief(value)}, expected a list")
    return value


def mapping_of(value: object, name: str) -> Mapping[str, object]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {brief(value)}, expected an object")
    return value


def text_of(value: object, name: str) -> str:
    """A text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {brief(value)}, expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is {shown(value)}, which holds half of a character; write it in full") from error
    return value


def label_of(value: object, name: str) -> str:
    """A class name."""
    try:
        return parse_label(text_of(value, name))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(name) else f"{name} {error}") from error


def integer_of(value: object, name: str, least: int | None = None) -> int:
    """A whole number; 12.0 counts as one, true and false do not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or (least is not None and value < least):
        at_least = "" if least is None else f" from {least}"
        raise ValueError(f"{name} is {brief(value)}, expected a whole number{at_least}")
    return value


def side_of(value: object, name: str) -> int:
    """The width or height of a picture in px."""
    try:
        return parse_side(str(integer_of(value, name)))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(name) else f"{name} {error}") from error


def box_of(value: object, name: str, corners: str = "x1, y1, x2, y2") -> Box:
    """Four finite numbers."""
    # by type, not isinstance: true and false are no numbers
    if not (isinstance(value, list) and len(value) == 4 and all(type(part) in (int, float) for part in value)):
        raise ValueError(f"{name} {brief(value)} is not [{corners}] in px")
    try:
        first, second, third, fourth = (float(part) for part in value)
    except OverflowError as error:
        raise ValueError(f"{name} {brief(value)} holds a number that is too large") from error
    return first, second, third, fourth


def span_of(value: object) -> tuple[int, int]:
    """Two whole numbers: where a part of a text starts and ends."""
    # by type, not isinstance: true and false are no numbers
    if not (isinstance(value, list) and len(value) == 2 and all(type(place) is int for place in value)):
        raise ValueError(f"span {brief(value)} is not [start, end] in whole characters")
    return value[0], value[1]


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that JSON knows")


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The members of an object, whose keys must differ: of two alike, JSON readers drop one silently."""
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {shown(repeated)} appears twice; remove one")
    return members


def _number(text: str) -> float:
    try:
        return parse_number(text)
    except ValueError as error:
        raise ValueError(f"a number {error}") from error


def _why(error: Exception) -> str:
    return "too many brackets in one another" if isinstance(error, RecursionError) else shown(str(error), 100)
