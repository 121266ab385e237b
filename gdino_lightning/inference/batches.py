"""Pictures and frames on their way to the model: batches of one canvas, read in worker processes where asked.

Letters: B pictures in the batch, H, W px of the canvas.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gdino_lightning.data.canvas import Sizing
from gdino_lightning.errors import DatasetError
from gdino_lightning.inference.journal import PictureResult
from gdino_lightning.inference.pictures import Pixels, read_upright, read_upright_size
from gdino_lightning.inference.predictor import lay_out
from gdino_lightning.inference.sources import Source


@dataclass(frozen=True)
class LookBatch:
    """Pictures of one canvas, and those that could not be read.

    Attributes:
        blank: A result for each of the B pictures, without what is found in it.
        rgb: The B upright pictures, (height, width, 3) uint8 RGB.
        pixels: (B, 3, H, W) float32, normalised, 0 where padded.
        mask: (B, H, W) bool, True on the picture.
        failed: Results of the pictures that could not be read.
    """

    blank: list[PictureResult]
    rgb: list[Pixels]
    pixels: Tensor
    mask: Tensor
    failed: list[PictureResult]

    @classmethod
    def of(
        cls, pictures: Sequence[tuple[PictureResult, Pixels]], sizing: Sizing, failed: list[PictureResult]
    ) -> "LookBatch":
        """Lay upright pictures of one canvas out."""
        laid = [lay_out(rgb, sizing) for _, rgb in pictures]
        return cls(
            [replace(result, width=rgb.shape[1], height=rgb.shape[0]) for result, rgb in pictures],
            [rgb for _, rgb in pictures],
            torch.stack([pixels for pixels, _ in laid]) if laid else torch.zeros(0, 3, 1, 1),
            torch.stack([mask for _, mask in laid]) if laid else torch.zeros(0, 1, 1, dtype=torch.bool),
            failed,
        )


class PictureBatches(Dataset[LookBatch]):
    """Reads one planned batch after the other.

    Args:
        batches: Pictures of one canvas each.
        sizing: Resize and canvas rule.
    """

    def __init__(self, batches: Sequence[Sequence[Source]], sizing: Sizing) -> None:
        self._batches, self._sizing = batches, sizing

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> LookBatch:
        """Read the pictures of one batch."""
        read: list[tuple[PictureResult, Pixels]] = []
        failed: list[PictureResult] = []
        for source in self._batches[index]:
            blank = PictureResult(source.name, str(source.path))
            try:
                rgb, orientation = read_upright(source.path)
                read.append((replace(blank, orientation=orientation), rgb))
            except DatasetError as error:
                failed.append(replace(blank, error=str(error)))
        return LookBatch.of(read, self._sizing, failed)


def usual_batch_size(device: torch.device) -> int:
    """How many pictures a device looks at together: few on a CPU, whose cache large batches leave."""
    return 2 if device.type == "cpu" else 8


def plan_batches(pictures: Sequence[Source], sizing: Sizing, batch_size: int) -> list[list[Source]]:
    """Deal pictures into batches of one canvas each, by the sizes in their headers.

    A picture whose header cannot be read is a batch of its own; reading it will say why.
    """
    groups: defaultdict[tuple[int, int] | str, list[Source]] = defaultdict(list)
    for source in tqdm(pictures, "sizes", unit="picture", leave=False, disable=None, delay=2):
        try:
            groups[sizing.canvas(*read_upright_size(source.path))].append(source)
        except DatasetError:
            groups[source.name].append(source)
    return [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]


def picture_loader(batches: Sequence[Sequence[Source]], sizing: Sizing, num_workers: int) -> DataLoader[LookBatch]:
    """Return a loader of planned batches, in their order."""
    return DataLoader(
        PictureBatches(batches, sizing),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_init_worker,
    )


def _as_it_is(batch: Any) -> Any:
    return batch  # torch would turn the arrays in it into tensors


def _init_worker(_: int) -> None:
    cv2.setNumThreads(0)  # each worker is one process on one core
