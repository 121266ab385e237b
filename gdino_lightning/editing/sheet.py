"""Before and after on one sheet."""

import numpy as np

from gdino_lightning.editing.edit import Edited
from gdino_lightning.inference.draw import annotate, enlarge, shrink
from gdino_lightning.inference.pictures import Pixels
from gdino_lightning.inference.postprocess import Detections

LEAST_SIDE, MOST_SIDE = 480, 720  # px: the shorter side of a panel at least, unless its longer side passes the other
GAP = 8  # px between panels


def edit_sheet(before: Pixels, detections: Detections, edited: Edited) -> Pixels:
    """Put three pictures beside each other: what was found, the mask, and the edited picture.

    Args:
        before: (H, W, 3) uint8 RGB.
        detections: Boxes xyxy_px in it, with their names.
        edited: What `edit` made of it.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    found = annotate(
        before,
        detections.boxes.numpy(),
        detections.labels.tolist(),
        detections.names,
        detections.scores.tolist(),
        min_side=LEAST_SIDE,
    )
    mask = np.repeat(edited.mask[..., None], 3, axis=2)
    others = [enlarge(image, LEAST_SIDE)[0] for image in (mask, edited.picture)]
    panels = [shrink(image, MOST_SIDE) for image in (found, *others)]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])
