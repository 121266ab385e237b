"""Further datasets that a run is trained on beside its own: each with its own classes, as often as its weight says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gdino_lightning.data.grounding import GroundedPicture, scan_captions
from gdino_lightning.data.pictures import Picture, scan_split
from gdino_lightning.data.source import TRAIN
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.errors import ConfigError, Problems, PromptError, listed
from gdino_lightning.prompt.phrases import class_phrases


@dataclass(frozen=True)
class MixedSet:
    """A further dataset to train on; nothing of it validates or tests.

    Attributes:
        root: prepared folder; its `train/` is taken, with its captions.
        phrases: class name -> wording, or class names, of this dataset alone; null for the names in its table.
        weight: share of its pictures and captions that each epoch trains on, others in every epoch until all had
            their turn; above 0, at most 1.

    Raises:
        ConfigError: `weight` is out of range.
    """

    root: str
    phrases: dict[str, str | None] | list[str] | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight."""
        if not (math.isfinite(self.weight) and 0 < self.weight <= 1):
            raise ConfigError(
                f"data.mix: the weight of {self.root} is {self.weight}; expected the share of its pictures in an "
                "epoch, above 0 and at most 1"
            )

    @property
    def folder(self) -> Path:
        """The split folder that is trained on."""
        return Path(self.root) / TRAIN


@dataclass(frozen=True)
class ReadSet:
    """What is trained on of one dataset.

    Attributes:
        pictures: Those that are asked for the classes.
        captions: Those that are asked for a text.
        classes: Class names; a label becomes its place among them.
        phrases: The wordings of the classes, where they are not the model's own.
        weight: Share of the pictures and of the captions in an epoch.
    """

    pictures: Sequence[Picture]
    captions: Sequence[GroundedPicture]
    classes: Sequence[str]
    phrases: tuple[str, ...] | None = None
    weight: float = 1.0


def read_mixed(mixed: MixedSet, problems: Problems) -> ReadSet:
    """Read one of the further datasets; what cannot be used is left out and said in `problems`.

    A picture that has a caption and no row is trained with the caption alone, as in the run's own dataset.
    """
    table = mixed.folder / TABLE_NAME
    if not table.is_file():
        problems.add(f"{table}: no such table; data.mix wants folders that `gdino prepare --root` made")
        return ReadSet((), (), ())
    pictures = scan_split(mixed.folder, problems)
    captions = scan_captions(mixed.folder, pictures, problems)
    captioned = {caption.name for caption in captions}
    found = sorted({label for picture in pictures for label in picture.labels})
    wordings: dict[str, str] = {}
    if found or mixed.phrases:
        try:
            wordings = class_phrases(found if mixed.phrases is None else mixed.phrases)
        except PromptError as error:
            problems.add(f"data.mix, {mixed.root}: {error}")
    if wordings and (unknown := [label for label in found if label not in wordings]):
        problems.add(
            f"{table}: labels {listed(unknown)} have no wording in data.mix; add them to its "
            "phrases or correct the labels"
        )
    asked = [picture for picture in pictures if picture.labels or (wordings and picture.name not in captioned)]
    return ReadSet(asked, captions, list(wordings), tuple(wordings.values()), mixed.weight)
