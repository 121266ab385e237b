"""The only place that decodes pictures, so that every stage sees the same pixels.

Pixels are those stored in the file: EXIF orientation is ignored, because boxes refer to stored pixels.
Sixteen bits per channel become eight, grey becomes RGB, alpha is dropped, an animation gives its first frame.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from gdino_lightning.errors import DatasetError

MAX_PIXELS = 100_000_000

# only what is accepted here: Pillow's readers of rarer formats never see the file
_PIL_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_KINDS = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: The file is missing, no picture, damaged, cut short or above 100 megapixels.
    """
    return decode_rgb(_read_bytes(path), str(path))


def read_size(path: Path) -> tuple[int, int]:
    """Read (width, height) in px from a picture's header, without decoding it.

    Raises:
        DatasetError: The file is missing, no picture or above 100 megapixels.
    """
    try:
        with path.open("rb") as file:
            return _header_size(file, str(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def decode_rgb(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a picture file to (H, W, 3) uint8 RGB; `name` is for messages.

    Raises:
        DatasetError: The bytes are no picture, damaged, cut short or above 100 megapixels.
    """
    width, height = _header_size(io.BytesIO(data), name)
    _check_jpeg_end(data, name)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DatasetError(f"{name}: cannot be decoded ({error.err}); save the picture again") from error
    if bgr is None:
        raise DatasetError(f"{name}: damaged or of an unknown kind; save the picture again as PNG or JPEG")
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if rgb.shape != (height, width, 3):
        raise DatasetError(f"{name}: header says {width}x{height} px but {rgb.shape[1]}x{rgb.shape[0]} decode")
    return rgb


def oddity(data: bytes, name: str) -> str:
    """Say what of a picture that decodes is unlike its file's name or is not seen; empty where nothing is.

    Raises:
        DatasetError: The bytes are no picture.
    """
    with _header(io.BytesIO(data), name) as image:
        kind, several = image.format, bool(getattr(image, "is_animated", False))
    if several and kind != "MPO":  # a camera's JPEG with a preview of itself
        return f"{name} has several frames, the first is used"
    told = _KINDS.get(PurePosixPath(name).suffix.lower())
    return "" if told in (None, "JPEG" if kind == "MPO" else kind) else f"{name} is a {kind} in truth"


def suffix_of(data: bytes, name: str) -> str:
    """Return the suffix for a picture's kind, such as `.jpg`.

    Raises:
        DatasetError: The bytes are no picture, or of a kind that is not accepted.
    """
    with _header(io.BytesIO(data), name) as image:
        suffixes = [suffix for suffix, kind in _KINDS.items() if kind == image.format]
    if not suffixes:
        raise DatasetError(f"{name}: a picture of a kind that is not accepted; save it as JPEG or PNG")
    return suffixes[-1]


@contextmanager
def _header(file: IO[bytes], name: str) -> Iterator[Image.Image]:
    """Open a picture without decoding it; what is wrong with it, also within the block, is told by its name."""
    try:
        with Image.open(file, formats=_PIL_FORMATS) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{name}: {error}; scale the picture down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{name}: not a picture that can be read ({_reason(error)})") from error


def _header_size(file: IO[bytes], name: str) -> tuple[int, int]:
    with _header(file, name) as image:
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise DatasetError(f"{name}: {width}x{height} px is above {MAX_PIXELS:,} pixels; scale the picture down")
    return width, height


def _check_jpeg_end(data: bytes, name: str) -> None:
    """Refuse a JPEG whose last scan has no end marker: OpenCV before 5 fills the rest with grey, silently."""
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise DatasetError(f"{name}: the JPEG is cut short (no end marker); copy or save the picture again")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def _reason(error: Exception) -> str:
    # Pillow puts the address of the in-memory file into its text, which helps nobody
    return "unknown format" if "cannot identify" in str(error) else str(error)
