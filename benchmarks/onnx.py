"""How fast an exported graph is: torch against onnxruntime, on the same pictures.

```
python -m benchmarks.onnx                 # the miniature
python -m benchmarks.onnx --full_size     # and the architecture of grounding-dino-tiny (Swin-T), random weights
```

Both answer for the same three phrases, whose text is encoded beforehand, on the same canvas and batch, with the same
number of threads. They take turns, so that whatever else the machine does meets both alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from benchmarks._command import exit_code, positive
from gdino_lightning.files import write_atomic
from gdino_lightning.model.detector import GroundingDetector
from gdino_lightning.model.fixed_prompt import FixedPrompt
from gdino_lightning.model.nano.tokenizer import nano_tokenizer
from gdino_lightning.model.onnx_export import Canvas, export_onnx
from gdino_lightning.model.pretrained import Pretrained, load_pretrained
from gdino_lightning.prompt import build_prompt

PHRASES = ("with mask", "without mask", "mask worn incorrectly")
COLUMNS = ("model", "canvas", "batch", "torch ms", "onnxruntime ms", "torch / onnxruntime", "difference", "graph MB")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        model: What was run.
        canvas: (width, height) px.
        batch: Pictures at once.
        torch_ms: Median time of a batch in torch.
        onnxruntime_ms: Median time of a batch in onnxruntime.
        difference: Largest difference of scores and boxes (cxcywh_norm) that the export found.
        graph_mb: Size of the graph's file.
        export_s: How long it took to make and to check.
    """

    model: str
    canvas: Canvas
    batch: int
    torch_ms: float
    onnxruntime_ms: float
    difference: float
    graph_mb: float
    export_s: float

    def cells(self) -> list[str]:
        """Return the row as text, in the order of `COLUMNS`."""
        return [
            self.model,
            f"{self.canvas[0]}x{self.canvas[1]}",
            str(self.batch),
            f"{self.torch_ms:.1f}",
            f"{self.onnxruntime_ms:.1f}",
            f"{self.torch_ms / self.onnxruntime_ms:.2f}",
            f"{self.difference:.1g}",
            f"{self.graph_mb:.1f}",
        ]


def swin_t() -> Pretrained:
    """Build the architecture of IDEA-Research/grounding-dino-tiny with random weights and the miniature's words."""
    tokenizer = nano_tokenizer()
    swin = SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_indices=[2, 3, 4])
    config = GroundingDinoConfig(backbone_config=swin)
    config.text_config.vocab_size = tokenizer.get_vocab_size()
    torch.manual_seed(0)
    return Pretrained(GroundingDinoForObjectDetection(config), tokenizer)


def compare(name: str, loaded: Pretrained, canvas: Canvas, batch: int, repeats: int, threads: int) -> Row:
    """Export a graph and time it against torch.

    Args:
        name: Of the model, for the table.
        loaded: The model.
        canvas: (width, height) px of the pictures.
        batch: Pictures at once.
        repeats: Timed runs of each, after one that is not.
        threads: Of each.
    """
    torch.set_num_threads(threads)
    prompt = build_prompt(PHRASES, loaded.tokenizer)
    module = FixedPrompt(GroundingDetector(loaded.model).eval(), prompt).eval()
    pixels = torch.randn(batch, 3, canvas[1], canvas[0], generator=torch.Generator().manual_seed(0))
    mask = torch.ones(batch, canvas[1], canvas[0], dtype=torch.bool)
    with TemporaryDirectory() as folder, torch.no_grad():
        start = time.perf_counter()
        (graph,) = export_onnx(loaded, Path(folder), canvases=[canvas], phrases=PHRASES, progress=False)
        export_s = time.perf_counter() - start
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(graph.path, options, providers=["CPUExecutionProvider"])
        feeds = {"pixels": pixels.numpy(), "pixel_mask": mask.numpy()}
        ours, theirs = _take_turns(partial(module, pixels, mask), partial(session.run, None, feeds), repeats)
        megabytes = graph.path.stat().st_size / 1e6
    return Row(name, canvas, batch, 1e3 * ours, 1e3 * theirs, graph.difference, megabytes, export_s)


def markdown(rows: Sequence[Row]) -> str:
    """Draw the table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print the table, and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    return exit_code("onnx", partial(_run, _parser().parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    settings = (options.batch, options.repeats, options.threads)
    rows = [compare("nano", load_pretrained("nano"), options.canvas or (192, 192), *settings)]
    if options.full_size:
        rows.append(compare("Swin-T, random weights", swin_t(), options.canvas or (640, 480), *settings))
    text = markdown(rows)
    print(text, end="")
    if options.output is not None:
        versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
        facts = {"threads": options.threads, "repeats": options.repeats, **versions}
        numbers = json.dumps({"settings": facts, "rows": [asdict(row) for row in rows]}, indent=1)
        write_atomic(options.output, text.encode())
        write_atomic(options.output.with_suffix(".json"), f"{numbers}\n".encode())


def _take_turns(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for work, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def _canvas(text: str) -> Canvas:
    width, _, height = text.partition("x")
    return positive(width), positive(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.onnx", description="Time exported graphs against torch and print a table of medians."
    )
    add = parser.add_argument
    add("--full_size", action="store_true", help="also the Swin-T architecture; takes minutes and some 4 GB")
    add("--canvas", type=_canvas, metavar="WxH", help="px (192x192 for nano, 640x480 for the full size)")
    add("--batch", type=positive, default=1, help="pictures at once (%(default)s)")
    add("--repeats", type=positive, default=15, help="timed runs of each (%(default)s)")
    add("--threads", type=positive, default=1, help="threads of each (%(default)s)")
    add("--output", type=Path, help="FILE.md to write the table to, and FILE.json beside it")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
