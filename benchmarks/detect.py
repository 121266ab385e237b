"""How fast pictures are looked at, one alone and a folder of them, beside transformers' pipeline on the same weights.

```
OMP_NUM_THREADS=2 python -m benchmarks.detect --output runs/detect.json
```

The weights are of the full Swin-T size and random. Pictures have the size that the model reads, so that both ways see
the same pixels, and the boxes of eight are compared. Both take turns, each in a process of its own, and loading does
not count. Both do the same work for one phrase; for several, `--phrases 3`, the pipeline looks at a picture once for
each. It needs Linux.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from benchmarks._command import exit_code, positive
from benchmarks._full_size import PHRASES, draw_split, full_size
from benchmarks._process import Median, machine, measured, table, write_json
from gdino_lightning.data.table import IMAGES_FOLDER
from gdino_lightning.model.card import CardFacts
from gdino_lightning.model.export import export_hf
from gdino_lightning.model.folder import EvaluationSettings

WAYS = ("pipeline", "ours")


def main(argv: Sequence[str] | None = None) -> int:
    """Time both ways, print the table and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pictures", type=positive, default=256, help="in the folder (%(default)s)")
    parser.add_argument("--phrases", type=int, choices=(1, 2, 3), default=1, help="how many to ask for (%(default)s)")
    parser.add_argument("--short_side", type=positive, default=480, help="px of 4:3 pictures (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=1, help="processes of each way, in turn (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args(argv)
    return exit_code("detect", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    height, width = (-(-side // 32) * 32 for side in (options.short_side, options.short_side / 3 * 4))
    height, width = int(height), int(width)
    found: dict[str, list[dict[str, Any]]] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        evaluation = EvaluationSettings(min(height, width), max(height, width), canvas_multiple=32)
        export_hf(full_size(), folder / "weights", source="random weights", facts=CardFacts(evaluation=evaluation))
        draw_split(folder / "split", [(width, height)] * options.pictures)
        settings = {
            "weights": str(folder / "weights"),
            "folder": str(folder / "split" / IMAGES_FOLDER),
            "phrases": list(PHRASES[: options.phrases]),
        }
        for _ in tqdm(range(options.repeats), unit="turn"):
            for way in WAYS:
                found.setdefault(way, []).append(measured("benchmarks._looks", {"way": way, **settings}))
    print(_summary(found, f"{options.pictures} pictures of {width}x{height} px, phrases: {options.phrases}"))
    if options.phrases == 1:
        apart = largest_distance(*(found[way][0]["boxes"] for way in reversed(WAYS)))
        print(f"\nlargest distance of our boxes from the pipeline's: {apart:.1e} of the picture")
    print(", ".join(f"{key} {value}" for key, value in machine().items() if value))
    write_json(options.output, {"ways": {key: [_without_boxes(each) for each in runs] for key, runs in found.items()}})


def largest_distance(ours: list[list[list[float]]], theirs: list[list[list[float]]]) -> float:
    """How far the worst of our boxes is from its nearest one of theirs, by its worst coordinate."""
    worst = 0.0
    for mine, yours in zip(ours, theirs, strict=True):
        apart = (torch.tensor(mine)[:, None] - torch.tensor(yours)[None]).abs().amax(-1)
        worst = max(worst, float(apart.amin(1).max()))
    return worst


def _summary(found: dict[str, list[dict[str, Any]]], what: str) -> str:
    rows = []
    for key, runs in found.items():
        alone = Median.of([seconds for run in runs for seconds in run["alone"]])
        pairs = zip(found["pipeline"], runs, strict=True)
        times = Median.of([theirs["folder"] / ours["folder"] for theirs, ours in pairs])
        folder = Median.of([1 / run["folder"] for run in runs])
        rows.append([key, alone.cell(), folder.cell(), times.cell(), f"{max(run['peak_mb'] for run in runs):,.0f}"])
    return table([what, "s of one alone", "pictures/s of the folder", "times the pipeline", "peak MB"], rows)


def _without_boxes(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "boxes"}


if __name__ == "__main__":
    raise SystemExit(main())
