"""What drawn datasets show: the picture of a number and its boxes, by subject.

`masks`, the sample dataset: faces with and without masks, annotated like the published face-mask dataset. Three
classes, told apart by the face alone: `with_mask` (over nose and mouth, 55 % of the heads), `without_mask` (30 %) and
`mask_weared_incorrect` (under the nose, 15 %). The published 79 / 18 / 3 % would leave too few of the rare class to
learn and to score. Sizes, kinds of PNG and numbers of heads are in `drawing/plan.py`.

`world`: scenes of the drawn open world (`world.py`), everything in them labelled with its kind, such as `cup` or
`letter A`. The pretrained miniature knows the kinds but has never seen these scenes: on them it shows what training on
something else has made it forget.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.plan import draw_picture, plan_picture
from gdino_lightning.data.world import draw_scene

Subject = Literal["masks", "world"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)

_NAMES: dict[Subject, str] = {"masks": "maksssksksss", "world": "scene"}  # masks: as published
_SCENE_SIZES = ((320, 320), (400, 320), (320, 400))  # px: widths and heights, in turn


@dataclass(frozen=True)
class Drawn:
    """A drawn picture.

    Attributes:
        name: Of its files, without suffix.
        pixels: (H, W, 3 or 4) RGB or RGBA, uint8 or uint16.
        boxes: Label and xyxy_px of every object.
    """

    name: str
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    boxes: tuple[tuple[str, tuple[int, int, int, int]], ...]


def name_of(subject: Subject, index: int) -> str:
    """Return the name of a picture's files, without suffix."""
    return f"{_NAMES[subject]}{index}"


def draw(subject: Subject, seed: int, index: int) -> Drawn:
    """Draw picture `index`; it follows from the arguments alone."""
    return _DRAW[subject](seed, index)


def _masks(seed: int, index: int) -> Drawn:
    plan = plan_picture(seed, index)
    boxes = tuple((head.label, head.box) for head in plan.heads)
    return Drawn(name_of("masks", index), draw_picture(plan), boxes)


def _world(seed: int, index: int) -> Drawn:
    width, height = _SCENE_SIZES[index % len(_SCENE_SIZES)]
    scene = draw_scene(seed, index, "seen", (height, width))
    boxes = tuple((thing.kind, _whole(thing.box_px)) for thing in scene.objects)
    return Drawn(name_of("world", index), scene.image, boxes)


def _whole(box_px: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The nearest whole pixels, as published annotations have them."""
    x1, y1, x2, y2 = map(round, box_px)
    return x1, y1, x2, y2


_DRAW: dict[Subject, Callable[[int, int], Drawn]] = {"masks": _masks, "world": _world}
