"""Augmentation of training pictures with albumentations, which is imported here and nowhere else.

Draws follow from the generator given with each picture alone, never from worker count or order.
"""

import random
from dataclasses import dataclass, fields
from typing import Any

import albumentations as A
import numpy as np
import numpy.typing as npt

from gdino_lightning.errors import ConfigError

CROP_MIN = 0.5  # of each side: a crop enlarges the content at most twice
BLUR_OR_NOISE = 0.2  # of the pictures that photometric changes may touch


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of the training augmentations; 0 switches a part off.

    Attributes:
        flip: mirror left and right.
        photometric: change brightness, contrast, saturation and hue; in one of five cases also blur or noise.
        crop: cut out a part of at least half of each side that holds all boxes.

    Raises:
        ConfigError: a probability is not from 0 to 1.
    """

    flip: float = 0.5
    photometric: float = 0.5
    crop: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ConfigError(f"augmentation.{field.name} is {value}: a probability is from 0 to 1")


class BoxKeepingCrop(A.BBoxSafeRandomCrop):  # type: ignore[misc]  # albumentations ships no types
    """Random crop that holds every box whole and at least `CROP_MIN` of each side.

    One fraction is drawn for both sides, so the crop keeps the picture's aspect ratio where the boxes allow
    it. The parent crop rounds its right and bottom edges down, which cuts boxes, and may shrink to the boxes
    alone, which makes every object fill the picture.
    """

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, tuple[int, int, int, int]]:
        """Draw the corners of the crop, in px. The boxes in `data` are xyxy_norm."""
        height, width = params["shape"][:2]
        fraction = self.py_random.uniform(CROP_MIN, 1)
        boxes = data["bboxes"]
        x1, x2 = self._side(width, fraction, boxes[:, 0], boxes[:, 2])
        y1, y2 = self._side(height, fraction, boxes[:, 1], boxes[:, 3])
        return {"crop_coords": (x1, y1, x2, y2)}

    def _side(
        self, length: int, fraction: float, low: npt.NDArray[np.float32], high: npt.NDArray[np.float32]
    ) -> tuple[int, int]:
        """Draw start and end px on one side, around the boxes from `low` to `high` (norm)."""
        extent = max(1, round(fraction * length))
        if len(low) == 0:
            start = self.py_random.randint(0, length - extent)
            return start, start + extent
        first = int(np.floor(low.min() * length))
        last = min(length, int(np.ceil(high.max() * length)))
        extent = max(extent, last - first)
        start = self.py_random.randint(max(0, last - extent), min(first, length - extent))
        return start, start + extent


class Augmenter:
    """Applies the augmentations to one picture at a time.

    Call `seed` before each picture, then `geometric` on the stored picture and `photometric` on the resized
    one (its cost goes with the number of pixels, and noise is to be seen at the size the model sees).

    Args:
        augmentation: the probabilities.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        self._geometric = A.Compose(
            [BoxKeepingCrop(p=augmentation.crop), A.HorizontalFlip(p=augmentation.flip)],
            bbox_params=A.BboxParams(
                format="pascal_voc", label_fields=["box_numbers"], clip=True, filter_invalid_bboxes=True
            ),
        )
        mild = [A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 0.8)), A.GaussNoise(std_range=(0.01, 0.04))]
        self._photometric = A.Compose(
            [
                A.ColorJitter(
                    brightness=(0.75, 1.25), contrast=(0.75, 1.25), saturation=(0.75, 1.25), hue=(-0.03, 0.03)
                ),
                A.OneOf(mild, p=BLUR_OR_NOISE),
            ],
            p=augmentation.photometric,
        )

    def seed(self, *entropy: int) -> None:
        """Restart the random draws from these numbers alone.

        The two pipelines share one generator. `Compose.set_random_seed` would give each transform a generator
        of its own with the same seed, hence the same first draw: pictures would be flipped exactly when
        cropped.
        """
        generator = np.random.default_rng(entropy)
        python_generator = random.Random(int(generator.integers(2**63)))
        self._geometric.set_random_state(generator, python_generator)
        self._photometric.set_random_state(generator, python_generator)

    def geometric(
        self, rgb: npt.NDArray[np.uint8], boxes_px: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Crop and flip.

        Args:
            rgb: (H, W, 3) uint8 RGB.
            boxes_px: (N, 4) xyxy_px.

        Returns:
            The picture (h, w, 3), its boxes (M, 4) xyxy_px, clipped, those without an area dropped, and for
            each of them its row in `boxes_px` (M,).
        """
        result = self._geometric(image=rgb, bboxes=boxes_px, box_numbers=np.arange(len(boxes_px)))
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        return result["image"], boxes, np.asarray(result["box_numbers"], np.int64)

    def photometric(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Change light, colour and sharpness. Shapes: (H, W, 3) -> (H, W, 3)."""
        changed: npt.NDArray[np.uint8] = self._photometric(image=rgb)["image"]
        return changed
