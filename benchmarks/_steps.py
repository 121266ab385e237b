"""One way of taking training steps, timed: `python -m benchmarks._steps SETTINGS`, a process for `train_step`."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import GroundingDinoForObjectDetection
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher

from benchmarks._full_size import CLASSES, PHRASES, further_phrases
from benchmarks._process import peak_mb
from benchmarks._stopwatch import Stopwatch
from gdino_lightning.data.batch import Batch, Request, collate
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.pictures import read_split
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.training.module import GroundingDinoModule

CLIP = 0.1
TRIED: dict[str, Callable[[GroundingDetector], object]] = {
    "channels-last": lambda detector: detector.to(memory_format=torch.channels_last),
    "compiled backbone": lambda detector: detector.model.model.backbone.conv_encoder.model.compile(),
    "compiled fusion layers": lambda detector: [
        layer.fusion_layer.compile() for layer in detector.model.model.encoder.layers
    ],
}
RATE_SIDE = 2048  # of the matrices that the machine's rate is measured with


@dataclass(frozen=True)
class Settings:
    """What is timed.

    Attributes:
        way: `tutorial`, `loop` or `ours`.
        weights: Folder of the full-size model.
        root: Folder with the drawn pictures, `train/` and `test/`.
        short_side: px.
        long_side_max: px.
        steps: That count, after one that does not.
        batch_size: Pictures in a step; the tutorial has one.
        device: `cpu` or `cuda`.
        precision: Of the trainer; ours alone.
        count: Count the products of one more step.
        devices: Processes, each with `batch_size` pictures; ours alone.
        num_phrases: Classes of the model, those of the pictures among them; ours alone.
        data: Keys of the data module; ours alone.
        model: Keys of the module; ours alone.
        tried: One of `TRIED`; ours alone.
    """

    way: str
    weights: str
    root: str
    short_side: int
    long_side_max: int
    steps: int
    batch_size: int = 2
    device: str = "cpu"
    precision: str = "32-true"
    count: bool = False
    devices: int = 1
    num_phrases: int = len(PHRASES)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    tried: str | None = None


class Steps:
    """Times steps from end to end, loading included; the first one does not count."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.watch = Stopwatch()
        self.seconds: list[float] = []
        self.flops = 0
        self.peak = 0.0
        self._parts: dict[str, float] = {}
        self._counter: FlopCounterMode | None = None
        self._start = 0.0
        self._taken = 0

    @property
    def wanted(self) -> int:
        """Steps to take: one that does not count, those that do, and one whose products are counted."""
        return 1 + self.settings.steps + self.settings.count

    def begin(self) -> None:
        """Before a step: count the products of the last one, where they are asked for."""
        if self.settings.count and self._taken == self.wanted - 1:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def end(self) -> None:
        """After a step."""
        if self.settings.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._counter:  # counting takes time and memory of its own
            self._counter.__exit__(None, None, None)
            self.flops = self._counter.get_total_flops()
        elif self._taken:
            self.seconds.append(now - self._start)
            self._parts = dict(self.watch.seconds)
            self.peak = peak_mb()
        else:
            self.watch.clear()
        self._taken += 1
        self._start = time.perf_counter()

    def found(self) -> dict[str, Any]:
        """Return the figures in plain types; parts are seconds of a step."""
        on_gpu = self.settings.device == "cuda"
        return {
            "seconds": self.seconds,
            "parts": {name: seconds / len(self.seconds) for name, seconds in self._parts.items()},
            "peak_mb": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else self.peak,
            "flops": self.flops,
            "rate": matrix_rate(self.settings),
        }


def plain_steps(settings: Settings) -> Steps:
    """Take steps in a plain loop over transformers' model with the loss that it comes with."""
    alone = settings.way == "tutorial"
    steps = Steps(settings)
    model = GroundingDinoForObjectDetection.from_pretrained(settings.weights).to(settings.device).train()
    if not alone:  # what is trained is that of ours
        model.model.text_backbone.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = (torch.optim.Adam if alone else torch.optim.AdamW)(weights, 1e-4)
    core, watch = model.model, steps.watch
    for owner, part in (
        (core.text_backbone, "text"),
        (core.backbone, "backbone"),
        (core.encoder, "encoder"),
        (core.decoder, "decoder"),
        (GroundingDinoHungarianMatcher, "match"),
    ):
        watch.wrap(owner, "forward", part)
    loss_of, tokenizer = model.loss_function, nano_tokenizer()

    def timed_loss(*args: Any, **named: Any) -> Any:
        with watch.part("loss"):
            return loss_of(*args, **named)

    model.loss_function = timed_loss
    pictures = _batches(settings, 1 if alone else settings.batch_size)
    for _ in range(steps.wanted):
        steps.begin()
        with watch.part("load"):
            batch = next(pictures)
            ids = torch.tensor([tokenizer.encode(" . ".join(PHRASES) + " .").ids] * len(batch.targets))
            labels = [{"class_labels": target.labels, "boxes": target.boxes} for target in batch.targets]
        with watch.part("forward"):
            output = model(
                pixel_values=batch.pixels.to(settings.device),
                pixel_mask=batch.pixel_mask.long().to(settings.device),
                input_ids=ids.to(settings.device),
                attention_mask=torch.ones_like(ids).to(settings.device),
                token_type_ids=torch.zeros_like(ids).to(settings.device),
                labels=[{name: each.to(settings.device) for name, each in label.items()} for label in labels],
            )
        with watch.part("backward"):
            output.loss.backward()
        with watch.part("step"):
            if not alone:
                torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        steps.end()
    return steps


def our_steps(settings: Settings) -> Steps:
    """Take steps as `gdino fit` does, without validation, logs and checkpoints."""
    steps = Steps(settings)
    phrases = dict(zip(CLASSES, PHRASES, strict=True)) | further_phrases(settings.num_phrases - len(PHRASES))
    module = GroundingDinoModule(phrases, weights=settings.weights, warmup_steps=0, **settings.model)
    data = DetectionDataModule(
        settings.root,
        list(phrases),
        val="test",
        **{
            "batch_size": settings.batch_size,
            "short_side": settings.short_side,
            "long_side_max": settings.long_side_max,
            "num_workers": 0,
            "augmentation": None,
            **settings.data,
        },
    )
    if settings.tried:
        TRIED[settings.tried](module.detector)
    _time_ours(module, steps.watch)
    trainer = Trainer(
        accelerator="gpu" if settings.device == "cuda" else "cpu",
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,
        max_steps=steps.wanted,
        gradient_clip_val=CLIP,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[_Timed(steps)],
    )
    trainer.fit(module, data)
    return steps


class _Timed(Callback):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps.watch.wrap(trainer.optimizers[0], "step", "step")

    def on_train_batch_start(self, *_: Any) -> None:
        self._steps.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        self._steps.end()


def _time_ours(module: GroundingDinoModule, watch: Stopwatch) -> None:
    detector, criterion = module.detector, module.objective.criterion
    for name, part in (
        ("encode_text", "text"),
        ("encode_image", "backbone"),
        ("fuse", "encoder"),
        ("decode", "decoder"),
    ):
        watch.wrap(detector, name, part)
    watch.wrap(criterion, "forward", "loss")
    watch.wrap(module, "backward", "backward")
    watch.wrap(module, "training_step", "forward")
    watch.wrap(DetectionDataset, "__getitem__", "load")
    matcher: Callable[..., Any] = criterion.matcher

    def match(*args: Any) -> Any:
        with watch.part("match"):
            return matcher(*args)

    criterion.matcher = match  # type: ignore[assignment]  # called, nothing else


def _batches(settings: Settings, size: int) -> Iterator[Batch]:
    """Pictures in dataset order, each batch padded to its largest; over and over."""
    dataset = DetectionDataset(read_split(Path(settings.root) / "train"), CLASSES)
    sizing = Sizing(settings.short_side, settings.long_side_max, multiple=32)
    while True:
        for start in range(0, len(dataset) - size + 1, size):
            indices = range(start, start + size)
            canvases = [sizing.canvas(*dataset.sizes[index]) for index in indices]
            canvas = max(width for width, _ in canvases), max(height for _, height in canvases)
            yield collate(dataset[[Request(index, 0, sizing, canvas) for index in indices]])


def matrix_rate(settings: Settings, repeats: int = 5) -> float:
    """Products and sums per second of large square matrices in the precision of the steps."""
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(settings.precision, torch.float32)
    one = torch.randn(RATE_SIDE, RATE_SIDE, dtype=kind, device=settings.device)
    best = float("inf")
    for _ in range(repeats):
        with _seconds(settings.device) as taken:
            product: Tensor = one @ one
        best = min(best, taken())
    return 2 * product.shape[0] ** 3 / best


@contextmanager
def _seconds(device: str) -> Iterator[Callable[[], float]]:
    """Time what is done within; the result is there afterwards."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    end = start

    def taken() -> float:
        return end - start

    yield taken
    if device == "cuda":
        torch.cuda.synchronize()
    end = time.perf_counter()


def main() -> None:
    """Take the steps that the first argument describes and print what was found."""
    settings = Settings(**json.loads(sys.argv[1]))
    steps = our_steps(settings) if settings.way == "ours" else plain_steps(settings)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:  # Lightning starts this program once for each process
        print(json.dumps(steps.found()))


if __name__ == "__main__":
    main()
