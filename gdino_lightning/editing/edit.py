"""Edit what was found in a picture: one call for any number of objects, phrases and replacements.

Letters: K detections, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gdino_lightning.editing.fill import Fill
from gdino_lightning.editing.masks import REPLACED, Mask, Outline, mask_of
from gdino_lightning.inference.pictures import Pixels
from gdino_lightning.inference.postprocess import Detections


@dataclass(frozen=True)
class Edited:
    """An edited picture.

    Attributes:
        picture: (H, W, 3) uint8 RGB; where the mask is 0 every byte is that of the source.
        mask: (H, W) uint8, of everything that was replaced.
    """

    picture: Pixels
    mask: Mask


def edit(
    picture: Pixels,
    detections: Detections,
    fill: Fill,
    prompts: Sequence[str] | None = None,
    outline: Outline | None = None,
) -> Edited:
    """Replace or remove what was found.

    Args:
        picture: (H, W, 3) uint8 RGB; it stays as it is.
        detections: K, in this picture, as `Predictor.predict` returns them.
        fill: The backend, `OpenCvFill` or `DiffusersFill`.
        prompts: What shall be seen instead, by label. Labels are filled one after the other, so later ones lie on
            top. None: everything found is removed at once.
        outline: How boxes become regions.

    Returns:
        The picture and the mask; without a detection, the picture as it was.

    Raises:
        ConfigError: The backend cannot do what is asked for.
        ValueError: A label has no prompt.
    """
    height, width = picture.shape[:2]
    edited, replaced = picture.copy(), np.zeros((height, width), np.uint8)
    for boxes, prompt in _steps(detections, prompts):
        mask = mask_of(boxes, width, height, outline)
        if mask.any():
            edited = compose(edited, fill(edited, mask, prompt), mask)
            np.maximum(replaced, mask, out=replaced)
    return Edited(edited, replaced)


def compose(old: Pixels, new: Pixels, mask: Mask) -> Pixels:
    """Mix two pictures by a mask.

    Args:
        old: (H, W, 3) uint8, kept bit for bit where the mask is 0.
        new: (H, W, 3) uint8, taken bit for bit where it is 255.
        mask: (H, W) uint8.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    mixed, touched = old.copy(), mask > 0
    share = mask[touched].astype(np.uint16)[:, None]
    # to the nearest: 255 * 255 + 127 is below 2**16
    mixed[touched] = (old[touched] * (REPLACED - share) + new[touched] * share + REPLACED // 2) // REPLACED
    return mixed


def _steps(detections: Detections, prompts: Sequence[str] | None) -> list[tuple[Tensor, str]]:
    """Return what is filled in one go: boxes (N, 4) xyxy_px and the prompt."""
    if prompts is None:
        return [(detections.boxes, "")]
    labels = detections.labels
    if len(labels) and int(labels.max()) >= len(prompts):
        raise ValueError(f"label {int(labels.max())} has no prompt: there are {len(prompts)}")
    return [(detections.boxes[labels == label], prompt) for label, prompt in enumerate(prompts)]
