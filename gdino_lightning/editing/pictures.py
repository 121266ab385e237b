"""Picture files for editing: read upright with what else they hold, written so that pixels come back as they were."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gdino_lightning.editing.masks import Mask
from gdino_lightning.errors import ConfigError, DatasetError, listed
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.pictures import Pixels, read_upright, turn_upright

logger = logging.getLogger(__name__)

_RGB_MODES = frozenset({"RGB", "RGBA", "P"})  # whose colour profile is one of RGB
_OPAQUE = 255


@dataclass(frozen=True)
class _Format:
    """How a picture is written."""

    name: str
    max_side: int  # px
    alpha: bool = True
    lossless: bool = True
    options: dict[str, Any] = field(default_factory=dict)


_JPEG = _Format("JPEG", 65_535, alpha=False, lossless=False, options={"quality": 95, "subsampling": 0})
_TIFF = _Format("TIFF", 2**31, options={"compression": "tiff_adobe_deflate"})
_FORMATS = {
    ".png": _Format("PNG", 2**31),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    # `exact` keeps the colours of transparent pixels
    ".webp": _Format("WEBP", 16_383, options={"lossless": True, "exact": True}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _Format("BMP", 2**31, alpha=False),
}


@dataclass(frozen=True)
class PictureFile:
    """What is kept of a picture file; all other notes in it (camera, place, date) are not.

    Attributes:
        rgb: (H, W, 3) uint8, upright; 16 bits per channel have become 8, grey has become RGB.
        alpha: (H, W) uint8, or None where the file has none.
        profile: ICC colour profile of the RGB values, or None.
    """

    rgb: Pixels
    alpha: npt.NDArray[np.uint8] | None = None
    profile: bytes | None = None


def read_picture(path: Path) -> PictureFile:
    """Read a picture upright, with its transparency and colour profile.

    Raises:
        DatasetError: The file is missing, no picture, damaged, cut short or above 100 megapixels.
    """
    rgb, orientation = read_upright(path)
    with Image.open(path) as image:
        profile = image.info.get("icc_profile") if image.mode in _RGB_MODES else None
        if not image.has_transparency_data:
            return PictureFile(rgb, profile=profile)
        try:
            # OpenCV multiplies the colours of a TIFF by its transparency, so these are Pillow's
            rgba = turn_upright(np.array(image.convert("RGBA")), orientation)
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"{path}: its transparency cannot be read ({error}); save the picture again") from error
    return PictureFile(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3], profile)


def check_output(path: Path) -> None:
    """Refuse a file name that no picture can be written under.

    Raises:
        ConfigError: The ending is of no known format.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path}: unknown ending {path.suffix!r}; pictures are written as {listed(_FORMATS)}")


def write_picture(path: Path, picture: PictureFile) -> None:
    """Write a picture in the format of its ending; what the format cannot keep is said in a warning.

    Raises:
        ConfigError: The ending is of no known format, or the picture too large for the format.
        OSError: The file cannot be written.
    """
    check_output(path)
    kind = _FORMATS[path.suffix.lower()]
    height, width = picture.rgb.shape[:2]
    if max(height, width) > kind.max_side:
        raise ConfigError(
            f"{path}: {kind.name} holds at most {kind.max_side:,} px a side, not {width}x{height}: use PNG"
        )
    if not kind.lossless:
        logger.warning("%s: JPEG changes all pixels a little, also those that were not edited; PNG keeps them", path)
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None and kind.alpha:
        image.putalpha(Image.fromarray(picture.alpha))
    elif picture.alpha is not None and (picture.alpha < _OPAQUE).any():
        logger.warning("%s: %s has no transparency, it is dropped; PNG keeps it", path, kind.name)
    file = io.BytesIO()
    image.save(file, format=kind.name, **kind.options, **({"icc_profile": picture.profile} if picture.profile else {}))
    write_atomic(path, file.getvalue())


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask (H, W) as a grey PNG, white where the picture was replaced.

    Raises:
        ConfigError: The name does not end in .png.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path}: a mask is written as .png")
    file = io.BytesIO()
    Image.fromarray(mask).save(file, format="PNG")
    write_atomic(path, file.getvalue())
