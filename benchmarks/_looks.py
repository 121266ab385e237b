"""One way of detecting in a folder, timed: `python -m benchmarks._looks SETTINGS`, a process for `detect`."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import pipeline

from benchmarks._process import peak_mb
from gdino_lightning.boxes import cxcywh_to_xyxy
from gdino_lightning.inference.batches import picture_loader, plan_batches, usual_batch_size
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.sources import Source

COMPARED = 8  # pictures whose boxes are told
THRESHOLD = 0.35


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        way: `pipeline` of transformers, or `ours`.
        weights: Folder with model, tokenizer and processor.
        folder: Pictures.
        phrases: To ask for.
    """

    way: str
    weights: str
    folder: str
    phrases: list[str]


Look = Callable[[Sequence[Path]], Iterator[Tensor]]


def with_pipeline(settings: Settings) -> Look:
    """Load transformers' pipeline; it is asked about one picture after the other, and yields its (900, 4) boxes."""
    pipe = pipeline("zero-shot-object-detection", model=settings.weights, device="cpu")
    said: list[Tensor] = []
    pipe.model.register_forward_hook(lambda _module, _inputs, outputs: said.append(outputs.pred_boxes[0]))
    labels = [f"{phrase}." for phrase in settings.phrases]

    def look(paths: Sequence[Path]) -> Iterator[Tensor]:
        for path in paths:
            said.clear()
            pipe(str(path), candidate_labels=labels, threshold=THRESHOLD)
            yield cxcywh_to_xyxy(said[0]).clamp(0, 1)  # ours are those parts of boxes that lie in the picture

    return look


def with_ours(settings: Settings) -> Look:
    """Load our predictor; it looks as `gdino detect` does, without writing, and yields the (300, 4) best boxes."""
    predictor = Predictor.from_pretrained(settings.weights, device="cpu")
    question, batch_size = predictor.question(settings.phrases), usual_batch_size(predictor.device)

    def look(paths: Sequence[Path]) -> Iterator[Tensor]:
        batches = plan_batches([Source(path, path.name) for path in paths], predictor.sizing, batch_size)
        for batch in picture_loader(batches, predictor.sizing, num_workers=0):
            sizes = [(result.width, result.height) for result in batch.blank]
            for answers, size in zip(predictor.answer(batch.pixels, batch.mask, sizes, question), sizes, strict=True):
                answers.detections(box_threshold=THRESHOLD)
                yield answers.found.boxes / torch.tensor([*size, *size])

    return look


def main() -> None:
    """Look at the pictures that the first argument describes and print seconds, memory and boxes (xyxy, 0 to 1)."""
    settings = Settings(**json.loads(sys.argv[1]))
    look = (with_ours if settings.way == "ours" else with_pipeline)(settings)
    paths = sorted(Path(settings.folder).iterdir())
    # the first picture is looked at once without counting: what is made once is no matter of pictures
    next(look(paths[:1]))
    told: list[list[list[float]]] = []
    alone: list[float] = []
    for path in paths[:COMPARED]:
        start = time.perf_counter()
        told += [boxes.tolist() for boxes in look([path])]
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    count = sum(1 for _ in look(paths))
    seconds = time.perf_counter() - start
    print(json.dumps({"folder": seconds / count, "alone": alone, "peak_mb": peak_mb(), "boxes": told}))


if __name__ == "__main__":
    main()
