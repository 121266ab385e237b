"""Scenes of the drawn open world as samples and as a data module: what the miniature is pretrained on.

Nothing is stored. A training picture is drawn when it is asked for and is never asked for again: epoch e of n
pictures asks for the scenes e n to (e + 1) n - 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gdino_lightning.boxes import xyxy_px_to_cxcywh_norm
from gdino_lightning.data.batch import Request, Sample, Target
from gdino_lightning.data.canvas import Sizing, normalise_on_canvas
from gdino_lightning.data.loaders import CanvasLoaders, check_at_least, refuse_overfit_batches
from gdino_lightning.data.world import KINDS, LEAST_SIDE, Scene, Split, absent, draw_scene, naming
from gdino_lightning.errors import ConfigError, listed

SHAPES = ((400, 400), (500, 400), (400, 500))  # (width, height): aspect ratios, in turn


class SceneDataset(Dataset[list[Sample]]):
    """Draws the scenes that a `CanvasSampler` asks for, at the very size that it asks for.

    A training picture brings phrases of its own: one for each of its things, and `negatives` that are true of
    nothing in it. Others are labelled with the kinds of their things.

    Args:
        split: whose scenes.
        num_pictures: scenes in an epoch.
        seed: of the world.
        negatives: absent phrases of a training picture.
        classes: names of kinds, for splits other than 'train'; things of other kinds get no box.
    """

    def __init__(
        self, split: Split, num_pictures: int, *, seed: int, negatives: int = 0, classes: Sequence[str] = ()
    ) -> None:
        self._split = split
        self._num_pictures = num_pictures
        self._seed = seed
        self._negatives = negatives
        self._classes = {name: index for index, name in enumerate(classes)}

    def __len__(self) -> int:
        return self._num_pictures

    def __getitem__(self, requests: Sequence[Request]) -> list[Sample]:
        """The samples of one batch."""
        return [self.sample(request) for request in requests]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of every scene, before it is fitted to a canvas."""
        return [SHAPES[index % len(SHAPES)] for index in range(self._num_pictures)]

    def sample(self, request: Request) -> Sample:
        """One scene on the canvas asked for."""
        training = self._split == "train"
        number = request.index + (request.epoch * self._num_pictures if training else 0)
        width, height = request.sizing.resized_into(*SHAPES[request.index % len(SHAPES)], request.canvas)
        scene = draw_scene(self._seed, number, self._split, (height, width))
        things, labels, phrases = self._asked(scene, number) if training else self._of_kinds(scene)
        boxes_px = _boxes_px(scene, things)
        pixels, pixel_mask = normalise_on_canvas(scene.image, request.canvas)
        target = Target(
            image_id=number,
            image_path=f"scene {number} of {self._split!r}, seed {self._seed}",
            width=width,
            height=height,
            boxes=xyxy_px_to_cxcywh_norm(boxes_px, width, height),
            labels=torch.tensor(labels, dtype=torch.int64),
            boxes_px=None if training else boxes_px,
            phrases=phrases,
        )
        return Sample(pixels, pixel_mask, target)

    def _asked(self, scene: Scene, number: int) -> tuple[list[int], list[int], tuple[str, ...]]:
        """Things, the phrase of each, and all phrases: those that name things first."""
        rng = np.random.default_rng((self._seed, number))
        named = naming(scene, rng)
        answers = [(thing, label) for label, grounded in enumerate(named) for thing in grounded.objects]
        phrases = [grounded.phrase for grounded in named] + list(absent(scene, self._negatives, rng))
        things, labels = [thing for thing, _ in answers], [label for _, label in answers]
        return things, labels, tuple(phrase.text for phrase in phrases)

    def _of_kinds(self, scene: Scene) -> tuple[list[int], list[int], None]:
        """Things of the classes, and the class of each."""
        things = [index for index, thing in enumerate(scene.objects) if thing.kind in self._classes]
        return things, [self._classes[scene.objects[index].kind] for index in things], None


class WorldDataModule(LightningDataModule):
    """The drawn open world: endless training scenes, and fixed ones to validate on.

    `gdino world` tests, on other scenes and with phrases of all sorts.

    Args:
        phrases: kinds of things that validation asks for; linked from the model, which owns them.
        num_train: pictures in an epoch; each is drawn once and never again, if a resumed run keeps the number.
        num_val: pictures to validate on, of combinations that training shows.
        negatives: phrases that are true of nothing, beside those of a training picture's things.
        batch_size: pictures in a training batch.
        eval_batch_size: pictures in an evaluation batch; null for `batch_size`.
        short_side: px of a picture's short side.
        long_side_max: px that the long side does not exceed.
        canvas_multiple: px; canvas sides are multiples of it.
        train_short_sides: short sides that training batches draw from; null for `short_side` alone.
        num_workers: processes that draw; 0 draws in the main process.
        seed: of the world and the order.

    Raises:
        ConfigError: a setting is out of range, or a class is no kind of thing.
    """

    def __init__(
        self,
        phrases: dict[str, str | None] | list[str] | None = None,
        num_train: int = 2048,
        num_val: int = 200,
        negatives: int = 15,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        short_side: int = 160,
        long_side_max: int = 200,
        canvas_multiple: int = 32,
        train_short_sides: list[int] | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self._classes = list(phrases or [])
        if unknown := [str(name) for name in self._classes if name not in KINDS]:
            raise ConfigError(f"data.phrases: {listed(unknown)}: not in the drawn world; its kinds are {listed(KINDS)}")
        sizing = Sizing(short_side, long_side_max, canvas_multiple)
        self._loaders = CanvasLoaders(
            sizing,
            train_short_sides or (),
            batch_size,
            batch_size if eval_batch_size is None else eval_batch_size,
            num_workers,
            pin_memory=True,
            seed=seed,
        )
        check_at_least(0, negatives=negatives)
        check_at_least(1, num_train=num_train, num_val=num_val)
        _check_sides([sizing, *(sizing.at(side) for side in train_short_sides or ())])
        self._num_train, self._num_val = num_train, num_val
        self._negatives = negatives
        self._seed = seed

    def setup(self, stage: str) -> None:
        """Check what comes from elsewhere.

        Args:
            stage: "fit" or "validate".

        Raises:
            ConfigError: no classes were given, or the trainer asks for `overfit_batches`.
        """
        if not self._classes:
            raise ConfigError("data.phrases is empty: give kinds of things (with the command line: model.phrases)")
        refuse_overfit_batches(self.trainer, "data.num_train for short epochs")

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of new scenes, each picture with its own phrases."""
        dataset = SceneDataset("train", self._num_train, seed=self._seed, negatives=self._negatives)
        loaders = replace(self._loaders, batch_size=self.hparams["batch_size"])  # which `AutoBatch` sets
        return loaders.for_training(dataset, dataset.sizes)

    def val_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of new scenes with the combinations of training."""
        dataset = SceneDataset("seen", self._num_val, seed=self._seed, classes=self._classes)
        return self._loaders.for_evaluation(dataset, dataset.sizes)


def _boxes_px(scene: Scene, things: Sequence[int]) -> Tensor:
    """(N, 4) float32 xyxy_px of some things."""
    return torch.tensor([scene.objects[index].box_px for index in things], dtype=torch.float32).reshape(-1, 4)


def _check_sides(sizings: Sequence[Sizing]) -> None:
    """Find now, not in the middle of an epoch, that a picture would be too small for a scene."""
    side = min(min(sizing.resized(*shape)) for sizing in sizings for shape in SHAPES)
    if side < LEAST_SIDE:
        raise ConfigError(
            f"data.short_side, data.long_side_max and data.train_short_sides make pictures of {side} px a side: "
            f"a scene needs {LEAST_SIDE}"
        )
