"""Pictures as a viewer shows them: upright, in eight-bit RGB, from files, Pillow and arrays.

The dataset's boxes refer to stored pixels (`data.images`), and most cameras store a turned picture with a note how to
turn it (EXIF orientation). A detector should see people standing, so detection looks at the upright picture; what is
written for training is turned back by `to_stored`.
"""

import io
import struct
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gdino_lightning.data.images import MAX_PIXELS, decode_rgb, read_size
from gdino_lightning.errors import DatasetError

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Picture = str | Path | Image.Image | Pixels

UPRIGHT = 1
_ORIENTATION = 0x0112  # the EXIF tag; its values are those of TIFF 6.0, section 8
_MIRRORED = frozenset({2, 4, 5, 7})
_QUARTERS = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}  # turns to the left, after mirroring


def as_pixels(picture: Picture) -> Pixels:
    """Return any accepted picture upright: (H, W, 3) uint8 RGB.

    Args:
        picture: A file, a Pillow picture (its EXIF orientation is applied), or an (H, W, 3) uint8 RGB array.

    Raises:
        DatasetError: It cannot be read, is empty or above 100 megapixels, or is something else.
    """
    if isinstance(picture, str | Path):
        return read_upright(Path(picture))[0]
    if isinstance(picture, Image.Image):
        return turn_upright(_from_pillow(picture), _orientation(picture))
    if not isinstance(picture, np.ndarray):
        raise DatasetError(f"a picture is a path, a Pillow picture or an array, not {type(picture).__name__}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DatasetError(f"a picture is (H, W, 3) uint8 RGB, not {tuple(picture.shape)} {picture.dtype}: convert it")
    _check_size(picture.shape[1], picture.shape[0])
    return picture


def read_upright(path: Path) -> tuple[Pixels, int]:
    """Read a picture file upright.

    Returns:
        (H, W, 3) uint8 RGB, and the EXIF orientation of the stored pixels, 1 to 8.

    Raises:
        DatasetError: The file is missing, no picture, damaged, cut short or above 100 megapixels.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    stored = decode_rgb(data, str(path))
    orientation = _read_orientation(io.BytesIO(data))
    return turn_upright(stored, orientation), orientation


def read_upright_size(path: Path) -> tuple[int, int]:
    """Read (width, height) in px of the upright picture, without decoding it.

    Raises:
        DatasetError: The file is missing, no picture or above 100 megapixels.
    """
    width, height = read_size(path)
    return (height, width) if _QUARTERS[_read_orientation(path)] % 2 else (width, height)


def turn_upright(stored: Pixels, orientation: int) -> Pixels:
    """Turn and mirror stored pixels as their EXIF orientation asks for. Shapes: (H, W, 3) -> (H', W', 3)."""
    if orientation == UPRIGHT:
        return stored
    mirrored = stored[:, ::-1] if orientation in _MIRRORED else stored
    return np.ascontiguousarray(np.rot90(mirrored, _QUARTERS[orientation]))


def to_stored(boxes: Tensor, width: int, height: int, orientation: int) -> Tensor:
    """Undo `turn_upright` for boxes.

    Args:
        boxes: (N, 4) xyxy_px in the upright picture.
        width: Of the upright picture in px.
        height: Of the upright picture in px.
        orientation: EXIF orientation, 1 to 8.

    Returns:
        (N, 4) xyxy_px in the stored picture.
    """
    for _ in range(_QUARTERS[orientation]):  # a quarter to the right undoes one to the left
        x1, y1, x2, y2 = boxes.unbind(-1)
        boxes = torch.stack((height - y2, x1, height - y1, x2), dim=-1)
        width, height = height, width
    if orientation in _MIRRORED:
        x1, y1, x2, y2 = boxes.unbind(-1)
        boxes = torch.stack((width - x2, y1, width - x1, y2), dim=-1)
    return boxes


def _read_orientation(file: Path | IO[bytes]) -> int:
    with Image.open(file) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; upright where the EXIF data is damaged or says something else."""
    if image.format == "TIFF":  # OpenCV and Pillow turn it while they decode
        return UPRIGHT
    try:
        value: Any = image.getexif().get(_ORIENTATION, UPRIGHT)
    except (OSError, SyntaxError, ValueError, struct.error):  # what Pillow's parser raises on damaged tags
        return UPRIGHT
    return int(value) if value in _QUARTERS else UPRIGHT


def _from_pillow(image: Image.Image) -> Pixels:
    _check_size(*image.size)
    if image.mode.startswith("I;16"):  # Pillow would cut off all values above 255
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DatasetError(f"a Pillow picture of mode {image.mode} has no known range; convert it to L or RGB")
    return cast(Pixels, np.array(image.convert("RGB")))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DatasetError(f"a picture of {width}x{height} px is above {MAX_PIXELS:,} pixels; scale it down")
