"""How preparing a dataset and starting on it grow with its size, and whether loading keeps up with training.

```
python -m benchmarks.data --source face-mask-detection.zip --output runs/data.json
```

Drawn VOC folders of 1,000, 10,000 and 100,000 XML files with ten boxes each, a million boxes in all, on pictures of
160x120 px that are hard links to one file; each measurement in a process of its own. Then a real archive: how long it
takes to prepare, and how many of its pictures a second the loader makes at 800/1333 px, augmented. It needs Linux, and
some 2 GB of disk.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks._command import exit_code, positive
from benchmarks._process import machine, measured, table, write_json

WIDTH, HEIGHT, BOXES = 160, 120, 10
OBJECT = (
    "<object><name>class_{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax>"
    "<ymax>{lower}</ymax></bndbox></object>"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--sizes", type=positive, nargs="+", default=[1_000, 10_000, 100_000], help="XML files (1000 10000 100000)")
    add("--source", type=Path, help="an archive of real pictures; without, none are measured")
    add("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args(argv)
    return exit_code("data", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    grown: dict[int, dict[str, float]] = {}
    for size in tqdm(sorted(options.sizes), unit="size"):
        with TemporaryDirectory() as name:
            source, root = Path(name) / "voc", Path(name) / "prepared"
            draw_voc(source, size)
            settings = {"source": str(source), "root": str(root)}
            told = measured("benchmarks._growth", {"what": "prepare", **settings})
            start = measured("benchmarks._growth", {"what": "start", **settings})
            grown[size] = {**told, **start, "peak_mb": told["peak_mb"], "start_peak_mb": start["peak_mb"]}
    print(_growth(grown))
    real = _real(options.source) if options.source else {}
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine().items() if value))
    write_json(options.output, {"growth": grown, "real": real})


def draw_voc(folder: Path, size: int) -> None:
    """Draw a VOC folder: `size` pictures, all links to one, and an XML file for each with `BOXES` boxes."""
    images, labels = folder / "images", folder / "annotations"
    images.mkdir(parents=True)
    labels.mkdir()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    first = images / "000000.jpg"
    cv2.imwrite(str(first), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    for number in range(size):
        name = f"{number:06}.jpg"
        if number:
            _link(first, images / name)
        places = zip(rng.permutation(WIDTH - 30)[:BOXES], rng.permutation(HEIGHT - 30)[:BOXES], strict=True)
        objects = "".join(
            OBJECT.format(label=index % 3, x=x, y=y, right=x + 25, lower=y + 25) for index, (x, y) in enumerate(places)
        )
        about = f"<filename>{name}</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        (labels / f"{number:06}.xml").write_text(f"<annotation>{about}{objects}</annotation>")


def _link(first: Path, path: Path) -> None:
    try:
        os.link(first, path)
    except OSError:  # a disk has a limit of links to one file
        path.write_bytes(first.read_bytes())


def _real(source: Path) -> dict[str, object]:
    """Prepare a real archive and load from it."""
    with TemporaryDirectory() as name:
        settings = {"source": str(source), "root": str(Path(name) / "prepared")}
        told = measured("benchmarks._growth", {"what": "prepare", **settings})
        print(f"\n{source.name}: prepared in {told['prepare']:.1f} s, {told['peak_mb']:,.0f} MB at the most\n")
        rows, rates = [], {}
        for workers, cache in ((0, False), (0, True), (1, False), (2, False)):
            load = {"what": "load", "num_workers": workers, "cache": cache, **settings}
            found = measured("benchmarks._growth", load)
            rates[f"{workers} workers{', cached' if cache else ''}"] = found
            rows.append([str(workers), "yes" if cache else "no", f"{found['rate']:.1f}", f"{found['peak_mb']:,.0f}"])
        print(table(["num_workers", "cache", "pictures/s", "peak MB of the main process"], rows))
    return {"prepare": told, "load": rates}


def _growth(grown: dict[int, dict[str, float]]) -> str:
    head = ["XML files", "boxes", "prepare", "XML files read", "pictures read", "written", "peak MB"]
    head += ["data module starts", "epoch starts", "peak MB"]
    rows = []
    for size, each in grown.items():
        seconds = [f"{each[key]:.2f} s" for key in ("prepare", "annotations", "pictures", "writing")]
        starts = [f"{each[key]:.2f} s" for key in ("module", "epoch")]
        peaks = [f"{each[key]:,.0f}" for key in ("peak_mb", "start_peak_mb")]
        rows.append([f"{size:,}", f"{each['boxes']:,.0f}", *seconds, peaks[0], *starts, peaks[1]])
    return table(head, rows)


if __name__ == "__main__":
    raise SystemExit(main())
