"""Which pictures of a prepared dataset train, validate and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gdino_lightning.data.grounding import GroundedPicture
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.shots import pick_shots
from gdino_lightning.data.source import TEST, TRAIN, VAL
from gdino_lightning.data.split import hold_out, hold_out_stratified, split_names
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.errors import ConfigError

Val = float | Literal["val", "test"] | None

_HELD_OUT = 0.1  # of the training pictures, where nothing else is said


@dataclass(frozen=True)
class Parts:
    """The rule that deals the pictures; its settings are those of the data module.

    Attributes:
        root: Folder with a folder for each split.
        val: What validates.
        val_seed: Seed of a held-out part.
        val_split: How it is drawn.
        limit: Train on so many pictures.
        shots: Train on so many pictures of each class.
        seed: Seed of both.
        evaluate_on_train: Validate and test on the training pictures.

    Raises:
        ConfigError: `limit` and `shots` are both set, or `shots` is below 1.
    """

    root: Path
    val: Val
    val_seed: int
    val_split: Literal["stratified", "random"]
    limit: int | None
    shots: int | None
    seed: int
    evaluate_on_train: bool
    _dealt: list[tuple[Sequence[Picture], set[str]]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.limit is not None and self.shots is not None:
            raise ConfigError("data.shots and data.limit_train_pictures both choose the training pictures: set one")
        if self.shots is not None and self.shots < 1:
            raise ConfigError(
                f"data.shots is {self.shots}; expected 1 or more pictures for each class, or null for all"
            )

    def split_of(self, part: str) -> str:
        """The split that "train", "val" or "test" is of, unless `evaluate_on_train` puts trained pictures there."""
        if part == TRAIN or self.evaluate_on_train:
            return TRAIN
        validated = self._validated()
        return TEST if part == TEST else validated if isinstance(validated, str) else TRAIN

    def pictures(
        self, part: str, splits: Mapping[str, Sequence[Picture]], captions: Sequence[GroundedPicture]
    ) -> list[Picture]:
        """The pictures of "train", "val" or "test".

        Args:
            part: One of them.
            splits: The pictures of the splits that were read.
            captions: The captions of the training split.
        """
        split = self.split_of(part)
        if split != TRAIN:
            return list(splits[split])
        held_out = part == VAL and not self.evaluate_on_train
        wanted = self._held_out(splits[TRAIN]) if held_out else self.trained(splits[TRAIN], captions)
        return [picture for picture in splits[TRAIN] if picture.name in wanted]

    def trained(self, pictures: Sequence[Picture], captions: Sequence[GroundedPicture]) -> set[str]:
        """Names of the pictures that are trained on, with the class list, captions or both.

        Args:
            pictures: Those of the training split.
            captions: Its captions.
        """
        names = {picture.name for picture in pictures} | {caption.name for caption in captions}
        names -= self._held_out(pictures)
        if self.shots is not None:
            labels = {picture.name: picture.labels for picture in pictures if picture.name in names}
            return pick_shots(labels, self.shots, self.seed)
        if self.limit is None or self.limit >= len(names):
            return names
        return set(split_names(names, self.limit, self.seed)[0])

    def _validated(self) -> float | str:
        """What validates: a split, or a fraction of the training pictures."""
        if self.val is None:
            return VAL if (self.root / VAL / TABLE_NAME).is_file() else _HELD_OUT
        return self.val

    def _held_out(self, pictures: Sequence[Picture]) -> set[str]:
        """Names of the pictures of the training split that validate; of the same pictures they are drawn once."""
        fraction = self._validated()
        if isinstance(fraction, str):
            return set()
        if not (self._dealt and self._dealt[0][0] is pictures):
            labels = {picture.name: picture.labels for picture in pictures}
            draw = hold_out if self.val_split == "random" else hold_out_stratified
            self._dealt[:] = [(pictures, set(draw(labels, fraction, self.val_seed)[1]))]
        return self._dealt[0][1]
