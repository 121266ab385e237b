"""Typed batches of one canvas each: what the model gets, and the sampler that decides who shares a batch.

Letters: B pictures in the batch, N boxes in a picture, H, W px of the canvas.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.shares import Shares
from gdino_lightning.prompt.captions import Caption


@dataclass
class Target:
    """What is known about one picture of a batch.

    Attributes:
        image_id: index of the picture in its split.
        image_path: file of the stored picture.
        width: px of the stored picture.
        height: px of the stored picture.
        boxes: (N, 4) float32, cxcywh_norm of the picture's own (possibly augmented) content.
        labels: (N,) int64: class indices, or with a caption or phrases the indices of those.
        boxes_px: (N, 4) float32, xyxy_px of the stored picture as annotated and clipped; None where
            augmented.
        caption: the text that the picture is trained with; None where that is the class list.
        phrases: what the picture is asked for, true of its boxes or of nothing; None where that is the class list.
    """

    image_id: int
    image_path: str
    width: int
    height: int
    boxes: Tensor
    labels: Tensor
    boxes_px: Tensor | None
    caption: Caption | None = None
    phrases: tuple[str, ...] | None = None

    def pin_memory(self) -> "Target":
        """A copy in page-locked memory."""
        return self._copy(Tensor.pin_memory)

    def to(self, device: torch.device | str) -> "Target":
        """A copy on `device`.

        Lightning calls it where it moves a batch: left to itself it walks through every dataclass and stops at
        frozen ones, as captions are. Like Lightning, only copies to CUDA let the program run on meanwhile.
        """
        non_blocking = torch.device(device).type == "cuda"
        return self._copy(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _copy(self, change: Callable[[Tensor], Tensor]) -> "Target":
        return replace(
            self,
            boxes=change(self.boxes),
            labels=change(self.labels),
            boxes_px=None if self.boxes_px is None else change(self.boxes_px),
        )


@dataclass
class Sample:
    """One picture on its canvas: pixels (3, H, W) float32, pixel_mask (H, W) bool, and its target."""

    pixels: Tensor
    pixel_mask: Tensor
    target: Target


@dataclass
class Batch:
    """Pictures of one canvas.

    Attributes:
        pixels: (B, 3, H, W) float32, normalised with the ImageNet mean and std, 0 where padded.
        pixel_mask: (B, H, W) bool, True on the picture.
        targets: B targets.
    """

    pixels: Tensor
    pixel_mask: Tensor
    targets: list[Target]

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory; the data loader calls it where it pins."""
        return Batch(
            pixels=self.pixels.pin_memory(),
            pixel_mask=self.pixel_mask.pin_memory(),
            targets=[target.pin_memory() for target in self.targets],
        )


@dataclass(frozen=True)
class Request:
    """What the sampler asks of the dataset: one picture, made for one epoch, scale and canvas.

    Attributes:
        index: picture in the split.
        epoch: epoch that the augmentation follows from.
        sizing: resize rule of the batch.
        canvas: (W, H) px shared by the batch.
    """

    index: int
    epoch: int
    sizing: Sizing
    canvas: tuple[int, int]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one canvas.

    Raises:
        ValueError: the samples lie on different canvases.
    """
    shapes = {tuple(sample.pixels.shape) for sample in samples}
    if len(shapes) != 1:
        raise ValueError(f"a batch holds pictures of one canvas, got the shapes {sorted(shapes)}")
    return Batch(
        pixels=torch.stack([sample.pixels for sample in samples]),
        pixel_mask=torch.stack([sample.pixel_mask for sample in samples]),
        targets=[sample.target for sample in samples],
    )


def _rank_and_world_size() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class CanvasSampler(DistributedSampler[list[Request]]):
    """Yields whole batches, each a list of requests for pictures of one canvas.

    In evaluation (`shuffle=False`) a batch holds only pictures whose own canvas is the same, so that a
    picture's numbers do not depend on its neighbours. In training each batch draws one scale of
    `short_sides`, its canvas is the element-wise largest of its members' at that scale, and what is left over
    in each canvas group is merged with its neighbours in aspect ratio, so that few batches are small; a
    slightly larger common canvas is then a mild augmentation. Every picture is asked for once per epoch, unless
    its weight says that others are in its place; the number of batches is the same in every epoch.

    Batches are dealt to the ranks in turn. Where they do not divide, the first ones are dealt again, so that
    all ranks take the same number of steps; the metric counts a picture once, by its image id.

    It is handed to `DataLoader(sampler=..., batch_size=None)`, and is a `DistributedSampler`, so that
    Lightning calls `set_epoch` and neither replaces it nor wraps it in a sampler of its own.

    Args:
        sizes: (width, height) px of every stored picture.
        batch_size: pictures in a full batch.
        sizing: resize rule at the base scale, which also forms the groups.
        short_sides: scales to draw from in training; empty for the base scale alone.
        shuffle: True for training.
        seed: with the epoch, what order and scales follow from.
        weights: share of the epochs that ask for each picture, above 0 and at most 1; None for all.
        rank: of this process; by default that of torch.distributed, or 0.
        world_size: number of processes; by default that of torch.distributed, or 1.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        batch_size: int,
        sizing: Sizing,
        *,
        short_sides: Sequence[int] = (),
        shuffle: bool = False,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        own_rank, own_world_size = _rank_and_world_size()
        super().__init__(
            sizes,  # type: ignore[arg-type]  # only its length is asked for
            num_replicas=own_world_size if world_size is None else world_size,
            rank=own_rank if rank is None else rank,
            shuffle=shuffle,
            seed=seed,
        )
        self._sizes = list(sizes)
        self._batch_size = batch_size
        self._scales = [sizing.at(short_side) for short_side in short_sides if shuffle] or [sizing]
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, size in enumerate(self._sizes):
            groups[sizing.canvas(*size)].append(index)
        # neighbours in this order are alike in aspect ratio, then in size
        ordered = [groups[canvas] for canvas in sorted(groups, key=lambda c: (c[0] / c[1], c))]
        self._shares = Shares(ordered, weights or [1.0] * len(self._sizes), seed)
        self._num_batches = len(self._batches(np.random.default_rng(0)))
        self._start = (-1, 0)  # epoch, and batches of it that are not asked for again

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return -(-self._num_batches // self.num_replicas)

    def start_at(self, epoch: int, batches: int) -> None:
        """Leave out the first batches of one epoch: a run that goes on within it has had them."""
        self._start = (epoch, batches)

    @property
    def first_batch(self) -> int:
        """Number of the batch that the present epoch begins with: 0, unless a run goes on within it."""
        return self._start[1] if self._start[0] == self.epoch else 0

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches of an epoch follow from, in plain types."""
        return {
            "pictures": len(self._sizes),
            "sizes of pictures": hashlib.sha256(repr(self._sizes).encode()).hexdigest(),
            "batch_size": self._batch_size,
            "scales": [list(astuple(scale)) for scale in self._scales],
            "seed": self.seed,
            "processes": self.num_replicas,
            **self._shares.settings,
        }

    def __iter__(self) -> Iterator[list[Request]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        batches = self._batches(rng)
        # drawn for all batches on every rank: ranks must agree, whichever batches they take
        scales = [self._scales[i] for i in rng.integers(len(self._scales), size=len(batches))]
        for step in range(self.first_batch, len(self)):
            number = (step * self.num_replicas + self.rank) % len(batches)
            yield self._requests(batches[number], scales[number])

    def _batches(self, rng: np.random.Generator) -> list[list[int]]:
        """Deal the pictures into batches of indices: shuffled and merged in training, in order otherwise."""
        if not self.shuffle:
            return [chunk for group in self._shares.of_epoch(self.epoch) for chunk in self._chunks(group)]
        full: list[list[int]] = []
        rest: list[int] = []
        for group in self._shares.of_epoch(self.epoch):
            *chunks, last = self._chunks([int(i) for i in rng.permutation(group)])
            full += chunks
            if len(last) == self._batch_size:
                full.append(last)
            else:
                rest += last
        full += self._chunks(rest)
        return [full[i] for i in rng.permutation(len(full))]

    def _chunks(self, indices: list[int]) -> list[list[int]]:
        return [indices[i : i + self._batch_size] for i in range(0, len(indices), self._batch_size)]

    def _requests(self, indices: list[int], sizing: Sizing) -> list[Request]:
        canvases = [sizing.canvas(*self._sizes[index]) for index in indices]
        canvas = max(w for w, _ in canvases), max(h for _, h in canvases)
        return [Request(index, self.epoch, sizing, canvas) for index in indices]
