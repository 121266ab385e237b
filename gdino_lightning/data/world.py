"""The drawn open world: pictures of many kinds of things, and phrases that are true or false of them.

For pretraining and for testing a small open-vocabulary detector without a download. A scene shows 3 to 8 things
of about a hundred kinds (shapes, letters and digits, houses, animals, tools, ...) in 11 colours, 4 textures and
sizes from small to large, some of them partly covered, on a background from flat to busy. Phrases combine kind,
colour, texture, size and relation. Some combinations are held out of 'train' and appear in 'unseen' alone
(`worlds/combinations.py` says which): an 'unseen' scene asks for what pretraining never showed. A 'seen' scene is a
new picture with the combinations of 'train'.

Things have only meanings that survive scaling. Turning a picture over makes 'left of' and letters wrong, and
cropping it makes 'small' and 'large' wrong.
"""

from gdino_lightning.data.worlds.catalogue import KINDS
from gdino_lightning.data.worlds.layout import paint_scene, plan_scene
from gdino_lightning.data.worlds.paint import COLOURS, TEXTURES
from gdino_lightning.data.worlds.phrases import Phrase, Relation, vocabulary
from gdino_lightning.data.worlds.scene import SPLITS, Scene, Split, Thing
from gdino_lightning.data.worlds.truth import Grounded, absent, matches, may_match, naming, true_phrases
from gdino_lightning.errors import ConfigError

__all__ = [
    "COLOURS",
    "KINDS",
    "LEAST_SIDE",
    "SPLITS",
    "TEXTURES",
    "Grounded",
    "Phrase",
    "Relation",
    "Scene",
    "Split",
    "Thing",
    "absent",
    "draw_scene",
    "matches",
    "may_match",
    "naming",
    "true_phrases",
    "vocabulary",
]

LEAST_SIDE = 96  # px: in smaller pictures small things cannot be told


def draw_scene(seed: int, index: int, split: Split, size: tuple[int, int] = (160, 160)) -> Scene:
    """Draw a scene. It follows from the arguments alone: not from other scenes, nor from their order.

    Args:
        seed: another seed gives another world of scenes.
        index: number of the scene.
        split: 'train'; 'seen' (other scenes, same combinations); 'unseen' (at least one held-out combination, the
            largest thing, and more than half of all things).
        size: height and width of the picture in px.

    Raises:
        ConfigError: If `seed` or `index` is negative, `split` is unknown, or the picture is too small.
    """
    if min(seed, index) < 0:
        raise ConfigError(f"seed {seed}, index {index}: use 0 or a positive whole number")
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown: use one of {', '.join(SPLITS)}")
    if min(size) < LEAST_SIDE:
        raise ConfigError(f"size {size[0]}x{size[1]} px is too small: use at least {LEAST_SIDE} px a side")
    return paint_scene(plan_scene(seed, index, split, *size))
