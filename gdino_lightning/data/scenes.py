"""Scenes of the drawn open world as samples and as a data module: what the miniature is pretrained on.

Nothing is stored. A training picture is drawn when it is asked for and is never asked for again: epoch e of n
pictures asks for the scenes e n to (e + 1) n - 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from gdino_lightning.boxes import xyxy_px_to_cxcywh_norm
from gdino_lightning.data.batch import CanvasSampler, Request, Sample, Target, collate
from gdino_lightning.data.canvas import Sizing, normalise_on_canvas
from gdino_lightning.data.world import LEAST_SIDE, Scene, Split, absent, draw_scene, naming
from gdino_lightning.errors import ConfigError

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
        classes: names of kinds, for splits other than 'train'.
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
        number = request.index + training * request.epoch * self._num_pictures
        width, height = request.sizing.resized_into(*SHAPES[request.index % len(SHAPES)], request.canvas)
        scene = draw_scene(self._seed, number, self._split, (height, width))
        boxes_px, labels, phrases = self._asked(scene, number) if training else self._of_kinds(scene)
        boxes = torch.from_numpy(boxes_px)
        pixels, pixel_mask = normalise_on_canvas(scene.image, request.canvas)
        target = Target(
            image_id=number,
            image_path=f"scene {number} of {self._split!r}, seed {self._seed}",
            width=width,
            height=height,
            boxes=xyxy_px_to_cxcywh_norm(boxes, width, height),
            labels=torch.tensor(labels, dtype=torch.int64),
            boxes_px=None if training else boxes,
            phrases=phrases,
        )
        return Sample(pixels, pixel_mask, target)

    def _asked(self, scene: Scene, number: int) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
        rng = np.random.default_rng((self._seed, number))
        named = naming(scene, rng)
        labels = [label for label, grounded in enumerate(named) for _ in grounded.objects]
        boxes = _boxes_px(scene, [index for grounded in named for index in grounded.objects])
        phrases = [grounded.phrase for grounded in named] + list(absent(scene, self._negatives, rng))
        return boxes, labels, tuple(phrase.text for phrase in phrases)

    def _of_kinds(self, scene: Scene) -> tuple[np.ndarray, list[int], None]:
        kept = [index for index, thing in enumerate(scene.objects) if thing.kind in self._classes]
        return _boxes_px(scene, kept), [self._classes[scene.objects[index].kind] for index in kept], None


class WorldDataModule(LightningDataModule):
    """The drawn open world: endless training scenes, and fixed ones to validate ('seen') and test ('unseen') on.

    Args:
        phrases: kinds of things that validation and test ask for; linked from the model, which owns them.
        num_train: pictures in an epoch; each is drawn once and never again.
        num_val: pictures to validate on, of combinations that training shows.
        num_test: pictures to test on, of combinations that training never shows.
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
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        phrases: dict[str, str | None] | list[str] | None = None,
        num_train: int = 2048,
        num_val: int = 200,
        num_test: int = 200,
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
        self._numbers: Mapping[Split, int] = {"train": num_train, "seen": num_val, "unseen": num_test}
        self._negatives = negatives
        self._batch_size, self._eval_batch_size = batch_size, batch_size if eval_batch_size is None else eval_batch_size
        self._sizing = Sizing(short_side, long_side_max, canvas_multiple)
        self._train_short_sides = train_short_sides or []
        self._num_workers = num_workers
        self._seed = seed
        least = {
            "num_train": 1, "num_val": 1, "num_test": 1, "negatives": 0, "batch_size": 1, "num_workers": 0,
            "short_side": LEAST_SIDE, "seed": 0,
        }  # fmt: skip
        for name, bound in least.items():
            if self.hparams[name] < bound:
                raise ConfigError(f"data.{name} is {self.hparams[name]}: it must be at least {bound}")
        if min(self._train_short_sides, default=LEAST_SIDE) < LEAST_SIDE or self._eval_batch_size < 1:
            raise ConfigError(f"data: short sides must be at least {LEAST_SIDE} px, batches at least 1 picture")

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of new scenes, each picture with its own phrases."""
        dataset = SceneDataset("train", self._numbers["train"], seed=self._seed, negatives=self._negatives)
        sampler = CanvasSampler(
            dataset.sizes,
            self._batch_size,
            self._sizing,
            short_sides=self._train_short_sides,
            shuffle=True,
            seed=self._seed,
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of new scenes with the combinations of training."""
        return self._eval_loader("seen")

    def test_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of scenes with combinations that training never shows."""
        return self._eval_loader("unseen")

    def _eval_loader(self, split: Split) -> DataLoader[list[Sample]]:
        dataset = SceneDataset(split, self._numbers[split], seed=self._seed, classes=self._classes)
        return self._loader(dataset, CanvasSampler(dataset.sizes, self._eval_batch_size, self._sizing))

    def _loader(self, dataset: SceneDataset, sampler: CanvasSampler) -> DataLoader[list[Sample]]:
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            collate_fn=collate,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
        )


def _boxes_px(scene: Scene, indices: Sequence[int]) -> np.ndarray:
    """(N, 4) float32 xyxy_px of some things."""
    return np.array([scene.objects[index].box_px for index in indices], np.float32).reshape(-1, 4)
