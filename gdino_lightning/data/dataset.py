"""The pictures of one split as samples on their canvases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gdino_lightning.boxes import xyxy_px_to_cxcywh_norm
from gdino_lightning.data.batch import Request, Sample, Target
from gdino_lightning.data.canvas import Sizing, normalise_on_canvas, resize
from gdino_lightning.data.grounding import GroundedPicture
from gdino_lightning.data.images import read_rgb
from gdino_lightning.data.mixed import ReadSet
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.transforms import Augmentation, Augmenter
from gdino_lightning.errors import DatasetError, listed


@dataclass(frozen=True)
class Demand:
    """What one picture asks of the model.

    Attributes:
        path: file of the picture.
        num_boxes: how many it has.
        canvas: (W, H) px of the smallest canvas that it is trained on.
    """

    path: Path
    num_boxes: int
    canvas: tuple[int, int]


class DetectionDataset(Dataset[list[Sample]]):
    """Makes the samples that a `CanvasSampler` asks for; an item is the samples of one batch.

    A sample follows from its request, the settings here and the stored picture alone.

    Args:
        pictures: the split, in the order of the image ids.
        classes: class names; a label becomes its place among them.
        captions: pictures to be trained with a caption; their image ids follow those of `pictures`. They are
            never mirrored, because a text may speak of left and right.
        mixed: further datasets with classes of their own; image ids go on through them.
        augmentation: changes for training; None for evaluation.
        seed: with the epoch and the image id, what the augmentation draws follow from.
        cache: keep all decoded pictures in memory (3 bytes a pixel: 360 kB at 400x300 px). They are decoded
            here, once, so that worker processes that are forked share them; spawned workers get a copy each.

    Raises:
        DatasetError: a label is unknown or, with `cache`, a picture cannot be decoded.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        classes: Sequence[str],
        *,
        captions: Sequence[GroundedPicture] = (),
        mixed: Sequence[ReadSet] = (),
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        self._pictures: list[Picture | GroundedPicture] = []
        self._labels: list[Tensor] = []
        self._phrases: list[tuple[str, ...] | None] = []
        self._weights: list[float] = []
        for each in (ReadSet(pictures, captions, classes), *mixed):
            self._add(each)
        self._augmenter = None if augmentation is None else Augmenter(augmentation)
        self._unmirrored = None if augmentation is None else Augmenter(replace(augmentation, flip=0.0))
        self._seed = seed
        paths = dict.fromkeys(picture.path for picture in self._pictures) if cache else {}
        self._cached = {path: read_rgb(path) for path in paths}

    def _add(self, read: ReadSet) -> None:
        indices = {name: index for index, name in enumerate(read.classes)}
        self._pictures += [*read.pictures, *read.captions]
        self._labels += [_labels(picture, indices) for picture in read.pictures]
        self._labels += [torch.tensor(picture.labels, dtype=torch.int64) for picture in read.captions]
        self._phrases += [read.phrases] * len(read.pictures) + [None] * len(read.captions)
        self._weights += [read.weight] * (len(read.pictures) + len(read.captions))

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, requests: Sequence[Request]) -> list[Sample]:
        """The samples of one batch.

        Raises:
            DatasetError: a picture cannot be decoded.
        """
        return [self.sample(request) for request in requests]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) px of every stored picture."""
        return [(picture.width, picture.height) for picture in self._pictures]

    @property
    def weights(self) -> list[float]:
        """Share of the epochs that ask for each picture."""
        return self._weights

    @property
    def paths(self) -> list[Path]:
        """The stored pictures, in the order of the image ids."""
        return [picture.path for picture in self._pictures]

    def demands(self, sizing: Sizing) -> list[Demand]:
        """What every picture asks of the model, at the smallest scale."""
        return [
            Demand(picture.path, len(labels), sizing.canvas(picture.width, picture.height))
            for picture, labels in zip(self._pictures, self._labels, strict=True)
        ]

    def sample(self, request: Request) -> Sample:
        """One picture, augmented in training, resized, normalised and laid on the canvas asked for."""
        index = request.index
        picture = self._pictures[index]
        caption = picture.caption if isinstance(picture, GroundedPicture) else None
        augmenter = self._augmenter if caption is None else self._unmirrored
        rgb = self._cached[picture.path] if picture.path in self._cached else read_rgb(picture.path)
        boxes_px, labels = torch.from_numpy(picture.boxes_px), self._labels[index]
        if augmenter:
            augmenter.seed(self._seed, request.epoch, index)
            rgb, augmented_px, rows = augmenter.geometric(rgb, picture.boxes_px)
            boxes_px, labels = torch.from_numpy(augmented_px), labels[torch.from_numpy(rows)]
        height, width = rgb.shape[:2]
        boxes = xyxy_px_to_cxcywh_norm(boxes_px, width, height)
        rgb = resize(rgb, request.sizing.resized_into(width, height, request.canvas))
        if augmenter:
            rgb = augmenter.photometric(rgb)
        pixels, pixel_mask = normalise_on_canvas(rgb, request.canvas)
        target = Target(
            image_id=index,
            image_path=str(picture.path),
            width=picture.width,
            height=picture.height,
            boxes=boxes,
            labels=labels,
            boxes_px=None if augmenter else boxes_px,
            caption=caption,
            phrases=self._phrases[index],
        )
        return Sample(pixels, pixel_mask, target)


def _labels(picture: Picture, indices: Mapping[str, int]) -> Tensor:
    """Class indices (N,) int64 of a picture's boxes."""
    for label in picture.labels:
        if label not in indices:
            raise DatasetError(
                f"{picture.path}: label {label!r} is no class of the model, whose classes are "
                f"{listed(indices)}; correct the label or add the class"
            )
    return torch.tensor([indices[label] for label in picture.labels], dtype=torch.int64)
