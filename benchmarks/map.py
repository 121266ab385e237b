"""How long mAP takes over a whole split, beside pycocotools on the same detections.

```
python -m benchmarks.map --output runs/map.json
```

Both begin with the boxes in memory and end with the scores: what they build of them before they score counts. They take
turns, each in a process of its own. It needs Linux.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks._command import exit_code, positive
from benchmarks._process import Median, machine, measured, table, write_json

WAYS = ("pycocotools", "ours")


def main(argv: Sequence[str] | None = None) -> int:
    """Time both, print the table and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.map", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pictures", type=positive, default=5000, help="%(default)s")
    parser.add_argument("--boxes", type=positive, default=300, help="detections of a picture (%(default)s)")
    parser.add_argument("--classes", type=positive, default=80, help="%(default)s")
    parser.add_argument("--repeats", type=positive, default=3, help="of each (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args(argv)
    return exit_code("map", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    sizes = {"pictures": options.pictures, "boxes": options.boxes, "classes": options.classes}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in tqdm(range(options.repeats), unit="turn"):
        for way in WAYS:
            found[way].append(measured("benchmarks._scores", {"way": way, **sizes}))
    rows = []
    for way, runs in found.items():
        pairs = zip(found["pycocotools"], runs, strict=True)
        times = Median.of([theirs["seconds"] / ours["seconds"] for theirs, ours in pairs])
        seconds = Median.of([run["seconds"] for run in runs])
        peak = max(run["peak_mb"] for run in runs)
        rows.append([way, seconds.cell(), times.cell(1), f"{peak:,.0f}", f"{runs[0]['scores'][0]:.6f}"])
    what = f"{options.pictures:,} pictures, {options.boxes} boxes, {options.classes} classes"
    print(table([what, "seconds", "times pycocotools", "peak MB", "mAP"], rows))
    scores = zip(*(found[way][0]["scores"] for way in WAYS), strict=True)
    print(f"\nlargest difference of six scores: {max(abs(a - b) for a, b in scores):.1e}")
    print(", ".join(f"{key} {value}" for key, value in machine().items() if value))
    write_json(options.output, {"ways": found})


if __name__ == "__main__":
    raise SystemExit(main())
