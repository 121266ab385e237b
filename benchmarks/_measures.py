"""The ways in which the ablations measure: the options of each, how it makes a run, and what its tables tell."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from benchmarks._command import positive
from benchmarks._runs import Measure, Results, Settings
from benchmarks._tables import METRICS, markdown, report
from benchmarks._training import RANDOM, draw_dataset, fit_and_test, model_defaults
from benchmarks._zero_shot import (
    NUM_ABSENT,
    SPLITS,
    THRESHOLD,
    Adapting,
    Asking,
    adapt_and_ask,
    metrics_of,
    part_defaults,
    pretraining_defaults,
    switch_and_ask,
)


class Measurement(ABC):
    """One way to measure what a key is worth.

    Attributes:
        kind: Dataclass of what its runs have in common; its fields are named as the options.
        runs: Folder of its runs.
        parts_only: Its rows are the parts of the paper, unless others are asked for.
        tables: Title (none is empty) -> columns.
        shown: Metrics told when a run is finished.

    Args:
        options: The parsed options.
    """

    kind: ClassVar[type[Any]]
    runs: ClassVar[Path]
    parts_only: ClassVar[bool]
    tables: ClassVar[Mapping[str, Sequence[str]]]
    shown: ClassVar[Sequence[str]]

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.settings = self.kind(**{field.name: getattr(options, field.name) for field in fields(self.kind)})

    @staticmethod
    @abstractmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that are its own."""

    @staticmethod
    @abstractmethod
    def defaults() -> dict[str, object]:
        """Return the keys that a variant can change, each with the value that it changes."""

    @staticmethod
    @abstractmethod
    def intro(settings: Any) -> str:
        """Tell what was measured with such settings."""

    @abstractmethod
    def measure(self, defaults: dict[str, object]) -> Measure:
        """Return what makes a run."""

    def prepare(self) -> None:  # noqa: B027  # most need nothing
        """Make what all runs need."""

    @classmethod
    def text(cls, settings: object, results: Results) -> str:
        """Tell what was measured, and draw the tables."""
        parts = [cls.intro(settings)]
        for title, metrics in cls.tables.items():
            parts += [title] * bool(title) + [markdown(results, metrics)]
        return "\n\n".join(parts)

    @classmethod
    def numbers(cls, results: Results) -> Mapping[str, object]:
        """Return every number of the tables."""
        return report(results, [metric for metrics in cls.tables.values() for metric in metrics])


class FineTuning(Measurement):
    """Trained from random weights on the drawn sample dataset, and scored on its classes."""

    kind = Settings
    runs = Path("runs/ablations")
    parts_only = False
    tables: ClassVar = {"": METRICS}
    shown = ("val/map", "test/map")

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that are its own."""
        add = parser.add_argument
        add("--epochs", type=positive, default=12, help="passes over the training pictures (%(default)s)")
        add(
            "--num_images",
            type=positive,
            default=500,
            help="pictures to draw: 1/2 trains, 1/4 validates, 1/4 tests (%(default)s)",
        )
        add("--short_side", type=positive, default=128, help="px of a picture, both sides fit into it (%(default)s)")
        add(
            "--weights",
            default=RANDOM,
            help="where training starts; %(default)s, the default, is drawn anew for each seed",
        )
        add(
            "--root",
            type=Path,
            default=Path("data/ablations"),
            help="folder of the dataset, drawn where it is missing (%(default)s)",
        )

    @staticmethod
    def defaults() -> dict[str, object]:
        """Return the model's keys that have a default, with it."""
        return model_defaults()

    @staticmethod
    def intro(settings: Any) -> str:
        """Tell what was measured with such settings."""
        return (
            f"Weights `{settings.weights}`; {settings.num_images} drawn pictures of {settings.short_side} px: half "
            f"train, a quarter validates, a quarter tests; epochs: {settings.epochs}, the last is scored."
        )

    def prepare(self) -> None:
        """Draw the dataset."""
        draw_dataset(self.options.root, self.settings.num_images)

    def measure(self, defaults: dict[str, object]) -> Measure:
        """Return what makes a run."""
        return partial(fit_and_test, settings=self.settings, root=self.options.root, defaults=defaults)


class Inference(Measurement):
    """Pretrained weights asked about the drawn world as they are, with a part switched off."""

    kind: ClassVar[type[Any]] = Asking
    runs = Path("runs/ablations-inference")
    parts_only = True
    tables: ClassVar = {f"**Scenes: {split}.**": metrics_of(split) for split in SPLITS}
    shown = tuple(f"{split}/map_50/attribute" for split in SPLITS)

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that are its own."""
        add = parser.add_argument
        add("--weights", default="nano", help="pretrained on the drawn world (%(default)s)")
        add("--num_scenes", type=positive, default=100, help="scenes of each sort to ask about (%(default)s)")
        add("--short_side", type=positive, default=160, help="px of both sides of such a scene (%(default)s)")

    @staticmethod
    def defaults() -> dict[str, object]:
        """Return the parts, all on."""
        return part_defaults()

    @staticmethod
    def intro(settings: Any) -> str:
        """Tell what was measured with such settings."""
        return (
            f"Weights `{settings.weights}` with a part switched off, nothing trained. With `text_guided_queries` off, "
            f"boxes start from evenly drawn anchors that no training has seen. {_asked(settings)}"
        )

    def measure(self, defaults: dict[str, object]) -> Measure:
        """Return what makes a run."""
        return partial(switch_and_ask, settings=self.settings, defaults=defaults)


class ZeroShot(Inference):
    """Pretrained weights trained on for a while on the drawn world with one key changed, and asked about it."""

    kind = Adapting
    runs = Path("runs/ablations-zero-shot")

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that are its own."""
        Inference.add_options(parser)
        add = parser.add_argument
        add("--num_images", type=positive, default=2000, help="new pictures to train on, 8 a step (%(default)s)")
        add("--learning_rate", type=float, default=3e-4, help="highest rate; a cosine takes it to zero (%(default)s)")

    @staticmethod
    def defaults() -> dict[str, object]:
        """Return the model's keys, each with its value in pretraining."""
        return pretraining_defaults()

    @staticmethod
    def intro(settings: Any) -> str:
        """Tell what was measured with such settings."""
        return (
            f"Weights `{settings.weights}`, trained on with one key changed: {settings.num_images} new drawn pictures, "
            f"each shown once, rate {settings.learning_rate:g} falling to zero. With `text_guided_queries` off, boxes "
            f"start from evenly drawn anchors, which learn with the rest. {_asked(settings)}"
        )

    def measure(self, defaults: dict[str, object]) -> Measure:
        """Return what makes a run."""
        return partial(adapt_and_ask, settings=self.settings, defaults=defaults)


MEASUREMENTS: dict[str, type[Measurement]] = {
    "fine-tuning": FineTuning,
    "zero-shot": ZeroShot,
    "inference": Inference,
}


def _asked(settings: Asking) -> str:
    """Tell how a model was asked about the drawn world."""
    return (
        f"Asked about {settings.num_scenes} new scenes of each sort, {settings.short_side} px, each with {NUM_ABSENT} "
        f"absent phrases; `quiet` is the share of these that stay below {THRESHOLD:g}. The rows of a seed share all "
        "pictures; another seed has others."
    )
