"""What fills a mask: the interface of all backends, and the one that needs no weights."""

from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from gdino_lightning.editing.masks import Mask
from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.pictures import Pixels

Method = Literal["telea", "ns"]
METHODS: dict[Method, int] = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}
_WIDER = 257  # 255 becomes 65535


class Fill(Protocol):
    """Fills the masked part of a picture."""

    def __call__(self, picture: Pixels, mask: Mask, prompt: str = "") -> Pixels:
        """Return new pixels where the mask is above 0; what is returned elsewhere is not looked at.

        Args:
            picture: (H, W, 3) uint8 RGB; it stays as it is.
            mask: (H, W) uint8, above 0 where new pixels are wanted.
            prompt: What shall be seen there; empty: whatever suits the surroundings.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        ...


@dataclass(frozen=True)
class OpenCvFill:
    """Removes: continues the surroundings into the mask, with OpenCV, without any weights.

    Attributes:
        method: "telea" (Telea 2004, fast marching) or "ns" (Bertalmio et al. 2001, Navier-Stokes).
        radius: px around a pixel that are looked at to colour it.

    Raises:
        ConfigError: The method is unknown, or the radius is not 1 to 100.
    """

    method: Method = "telea"
    radius: int = 5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method is {self.method!r}: it is one of {', '.join(METHODS)}")
        if not 1 <= self.radius <= 100:
            raise ConfigError(f"radius is {self.radius}: it is 1 to 100 px")

    def __call__(self, picture: Pixels, mask: Mask, prompt: str = "") -> Pixels:
        """Fill the mask from its surroundings; see `Fill`.

        Raises:
            ConfigError: There is a prompt, which this backend cannot follow, or the mask leaves no surroundings.
        """
        if prompt:
            raise ConfigError(f"OpenCV only removes, it cannot paint {prompt!r}: take the diffusers backend")
        if mask.all():
            raise ConfigError("the mask covers the whole picture, nothing is left to continue: pad less or find less")
        filled = picture.copy()
        if mask.any():
            window = _window(mask, margin=self.radius + 2)  # what lies further away is not looked at
            unknown = (mask[window] > 0).astype(np.uint8)
            for channel in range(3):
                filled[window][..., channel] = self._continue(picture[window][..., channel], unknown)
        return filled

    def _continue(self, values: npt.NDArray[np.uint8], unknown: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fill one channel (h, w) where `unknown` (h, w) is 1."""
        # in 8 bits OpenCV rounds up at every pixel: after 60 of them a flat grey is 8 levels lighter
        wide = cv2.inpaint(values.astype(np.uint16) * _WIDER, unknown, self.radius, METHODS[self.method])
        return np.rint(wide / _WIDER).astype(np.uint8)


def _window(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return rows and columns of the masked part and `margin` px around it."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    return slice(max(0, top - margin), top + height + margin), slice(max(0, left - margin), left + width + margin)
