"""How long a large split takes to open, and how much memory, from its table and from what is packed behind it.

```
python -m benchmarks.open_tables
```

Pictures are hard links to one file, as only their names and headers matter; each way runs in processes of its own. It
needs Linux.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks._command import exit_code, positive
from benchmarks._runs import RunError
from gdino_lightning.data.packed import PACKED_NAME
from gdino_lightning.data.pictures import pack_split
from gdino_lightning.data.table import IMAGES_FOLDER, TABLE_NAME, Row, write_table

WIDTH, HEIGHT = 640, 480  # px
NUM_CLASSES = 80
_FIRST_LINE = (__doc__ or "").split("\n")[0]
# the high-water mark of /proc, since that of getrusage is inherited from the process that starts this one
OPEN = """
import json, re, sys, time
from pathlib import Path
from gdino_lightning.data.pictures import read_split
def most():
    return int(re.search("VmHWM:\\\\s+(\\\\d+)", Path("/proc/self/status").read_text())[1]) / 1e3
before, start = most(), time.perf_counter()
pictures = read_split(Path(sys.argv[1]))
seconds = time.perf_counter() - start
print(json.dumps([seconds, most(), before, len(pictures), sum(len(each.labels) for each in pictures)]))
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Time both, print the table and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.open_tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--pictures", type=positive, default=100_000, help="in the split (100000)")
    parser.add_argument("--boxes", type=positive, default=10, help="on each (10)")
    parser.add_argument("--repeats", type=positive, default=3, help="of each (3)")
    options = parser.parse_args(argv)
    return exit_code("open_tables", lambda: _work(options.pictures, options.boxes, options.repeats))


def _work(num_pictures: int, boxes: int, repeats: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder, num_pictures, boxes)
        told = [_open(folder) for _ in range(repeats)]
        pack_split(folder)
        packed = [_open(folder) for _ in range(repeats)]
        sizes = [(folder / file).stat().st_size / 1e6 for file in (TABLE_NAME, PACKED_NAME)]
    print(
        f"| {told[0][3]:,} pictures, {told[0][4]:,} boxes, median of {repeats} | seconds | MB of memory | MB on disk |"
    )
    print("|---|---|---|---|")
    for way, runs, size in zip(("table", "packed"), (told, packed), sizes, strict=True):
        seconds, memory = (statistics.median(run[value] for run in runs) for value in (0, 1))
        print(f"| {way} | {seconds:.2f} | {memory:,.0f} | {size:.1f} |")
    print(f"of the memory {packed[0][2]:,.0f} MB are there before anything is opened")


def _draw(folder: Path, num_pictures: int, boxes: int) -> None:
    images = folder / IMAGES_FOLDER
    images.mkdir()
    first = images / "000000000.png"
    cv2.imwrite(str(first), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num_pictures):
        name = f"{number:09}.png"
        if number:
            _link(first, images / name)
        corners = rng.uniform(0, (WIDTH - 50, HEIGHT - 50), (boxes, 2)).round(2)
        sides = rng.uniform(5, 50, (boxes, 2)).round(2)
        labels = rng.integers(NUM_CLASSES, size=boxes).tolist()
        found = zip(labels, corners.tolist(), (corners + sides).tolist(), strict=True)
        rows += [Row(f"class_{label}", (*start, *end), name, WIDTH, HEIGHT) for label, start, end in found]
    (folder / TABLE_NAME).write_bytes(write_table(rows))


def _link(first: Path, path: Path) -> None:
    try:
        os.link(first, path)
    except OSError:  # a disk has a limit of links to one file
        path.write_bytes(first.read_bytes())


def _open(folder: Path) -> list[float]:
    """Seconds, MB at the most, MB before, pictures, boxes.

    Raises:
        RunError: It failed.
    """
    done = subprocess.run([sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"open: {done.stderr.strip()}", done.returncode)
    found: list[float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
