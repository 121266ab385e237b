"""How a step's time and memory grow with the picture, the batch, the phrases and the processes; a table and a plot.

```
OMP_NUM_THREADS=2 python -m benchmarks.growth --output runs/growth.json --plot docs/growth.png
```

Training steps of the full Swin-T size with random weights in bf16-mixed, text encoder frozen. One thing grows,
the others stay at 240x320 px, 2 pictures, 3 phrases, 1 process. With several processes each has as many threads as
`OMP_NUM_THREADS` says, and 2 pictures of its own. `phrases, detecting` is the time of a picture that all phrases are
asked about, in float32. It needs Linux.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks._command import exit_code, positive
from benchmarks._full_size import PHRASES, draw_split, full_size, further_phrases
from benchmarks._process import Median, machine, measured, table, write_json
from gdino_lightning.data.table import IMAGES_FOLDER
from gdino_lightning.model.card import CardFacts
from gdino_lightning.model.export import export_hf
from gdino_lightning.model.folder import EvaluationSettings

SIDE, BATCH = 240, 2
DETECTING = "phrases, detecting"
# what grows -> its values
AXES: dict[str, tuple[int, ...]] = {
    "short side, px": (120, 240, 480, 800),
    "pictures in a batch": (1, 2, 4, 8),
    "phrases": (3, 80, 1203),
    DETECTING: (3, 80, 1203),
    "processes": (1, 2),
}


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        axis: What grows.
        value: How large it is.
        seconds: Of a picture, over all processes; the median step.
        peak_mb: The most memory of the first process.
    """

    axis: str
    value: int
    seconds: float
    peak_mb: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, draw the plot and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--axes", nargs="+", choices=list(AXES), default=list(AXES), help="what grows (all)")
    add("--most", type=positive, default=10_000, help="leave larger values out (%(default)s)")
    add("--steps", type=positive, default=3, help="that count, of each (%(default)s)")
    add("--output", type=Path, help="JSON file for all figures")
    add("--plot", type=Path, help="PNG file for the plot")
    options = parser.parse_args(argv)
    return exit_code("growth", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    wanted = [(axis, value) for axis in options.axes for value in AXES[axis] if value <= options.most]
    with TemporaryDirectory() as name:
        folder = Path(name)
        evaluation = EvaluationSettings(SIDE, SIDE * 4 // 3)
        export_hf(full_size(), folder / "weights", source="random weights", facts=CardFacts(evaluation=evaluation))
        for split, pictures in (("train", 16), ("test", 2)):
            draw_split(folder / split, [(SIDE * 4 // 3, SIDE)] * pictures)
        points = [
            _asked(folder, value) if axis == DETECTING else _trained(folder, axis, value, options.steps)
            for axis, value in tqdm(wanted, unit="process")
        ]
    rows = [
        [point.axis, f"{point.value:,}", f"{1e3 * point.seconds:,.0f}", f"{point.peak_mb:,.0f}"] for point in points
    ]
    print(table(["grows", "to", "ms of a picture", "peak MB"], rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine().items() if value))
    write_json(options.output, {"points": [asdict(point) for point in points]})
    if options.plot:
        draw(points, options.plot)


def _trained(folder: Path, axis: str, value: int, steps: int) -> Point:
    settings: dict[str, Any] = {
        "way": "ours",
        "weights": str(folder / "weights"),
        "root": str(folder),
        "short_side": SIDE,
        "long_side_max": SIDE * 4 // 3,
        "steps": steps,
        "batch_size": BATCH,
        "precision": "bf16-mixed",
    }
    changes: dict[str, dict[str, Any]] = {
        "short side, px": {"short_side": value, "long_side_max": value * 4 // 3},
        "pictures in a batch": {"batch_size": value},
        "phrases": {"num_phrases": value},
        "processes": {"devices": value},
    }
    settings |= changes[axis]
    found = measured("benchmarks._steps", settings)
    pictures = settings["batch_size"] * settings.get("devices", 1)
    return Point(axis, value, Median.of(found["seconds"]).median / pictures, found["peak_mb"])


def _asked(folder: Path, value: int) -> Point:
    phrases = [*PHRASES, *further_phrases(value - len(PHRASES)).values()]
    images = folder / "test" / IMAGES_FOLDER
    settings = {"way": "ours", "weights": str(folder / "weights"), "folder": str(images), "phrases": phrases}
    found = measured("benchmarks._looks", settings)
    return Point(DETECTING, value, found["folder"], found["peak_mb"])


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw time and memory over everything that grows."""
    from matplotlib.figure import Figure  # takes a second: not for --help

    axes = list(dict.fromkeys(point.axis for point in points))
    figure = Figure(figsize=(2.6 * len(axes), 4.6), layout="constrained")
    rows = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        own = [point for point in points if point.axis == axis]
        values = [point.value for point in own]
        for row, numbers in enumerate(([p.seconds for p in own], [p.peak_mb / 1e3 for p in own])):
            place = rows[row][column]
            place.plot(values, numbers, marker="o", color=("tab:blue", "tab:orange")[row])
            place.set_ylim(bottom=0)
            if max(values) > 100 * min(values):
                place.set_xscale("log")
            place.set_xticks(values, [f"{value:,}" for value in values])
            place.minorticks_off()
            place.grid(alpha=0.3)
        rows[1][column].set_xlabel(axis)
    rows[0][0].set_ylabel("seconds of a picture")
    rows[1][0].set_ylabel("GB at the most")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
