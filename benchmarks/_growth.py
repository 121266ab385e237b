"""Preparing and opening one dataset, timed: `python -m benchmarks._growth SETTINGS`, a process for `data`."""

import json
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._process import peak_mb
from benchmarks._stopwatch import Stopwatch
from gdino_lightning.data import arrange, prepare
from gdino_lightning.data.formats.voc import VocSource

if TYPE_CHECKING:
    from gdino_lightning.data.datamodule import DetectionDataModule

LOADED = 30  # batches that the loader's pace is measured with


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        what: `prepare`, `start` of the data module and of an epoch, or `load`.
        source: To prepare.
        root: Prepared, or to be.
        short_side: px, for `load`.
        long_side_max: px, for `load`.
        num_workers: For `load`.
        cache: For `load`.
    """

    what: str
    source: str
    root: str
    short_side: int = 800
    long_side_max: int = 1333
    num_workers: int = 0
    cache: bool = False


def prepared(settings: Settings) -> dict[str, float]:
    """Prepare, and tell how long the XML files, the pictures and all the rest took."""
    watch = Stopwatch()
    watch.wrap(VocSource, "annotate", "annotations")
    watch.wrap(arrange, "check_source", "pictures")
    watch.wrap(prepare, "publish", "writing")
    start = time.perf_counter()
    with watch.part("rest"):
        summary = prepare.prepare(Path(settings.source), Path(settings.root), num_train=0.7, progress=False)
    return {
        "prepare": time.perf_counter() - start,
        **watch.seconds,
        "boxes": sum(sum(split.boxes.values()) for split in summary.splits),
    }


def started(settings: Settings) -> dict[str, float]:
    """Start the data module and an epoch: until the first batch is there."""
    data = _data_module(settings)
    start = time.perf_counter()
    data.prepare_data()
    data.setup("fit")
    ready = time.perf_counter()
    loader = data.train_dataloader()
    next(iter(loader))
    return {"module": ready - start, "epoch": time.perf_counter() - ready}


def loaded(settings: Settings) -> dict[str, float]:
    """Load batches as fast as the loader can."""
    data = _data_module(settings)
    data.prepare_data()
    data.setup("fit")
    batches = iter(data.train_dataloader())
    next(batches)  # worker processes have started
    start = time.perf_counter()
    pictures = sum(len(batch.targets) for batch in islice(batches, LOADED))
    return {"rate": pictures / (time.perf_counter() - start)}


def _data_module(settings: Settings) -> "DetectionDataModule":
    from gdino_lightning.data.datamodule import DetectionDataModule  # brings torch, which preparing does without

    classes = sorted({line.split(",")[0] for line in _first_lines(Path(settings.root) / "train" / "annotations.csv")})
    return DetectionDataModule(
        settings.root,
        classes,
        batch_size=2,
        short_side=settings.short_side,
        long_side_max=settings.long_side_max,
        num_workers=settings.num_workers,
        cache=settings.cache,
    )


def _first_lines(table: Path) -> list[str]:
    with table.open() as file:
        return list(islice(file, 1, 1000))


def main() -> None:
    """Do what the first argument describes and print what was found."""
    settings = Settings(**json.loads(sys.argv[1]))
    found = {"prepare": prepared, "start": started, "load": loaded}[settings.what](settings)
    print(json.dumps({**found, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
