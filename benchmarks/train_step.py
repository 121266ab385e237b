"""How fast and how lean a training step is, beside the tutorial's way and a plain loop over transformers.

```
OMP_NUM_THREADS=2 python -m benchmarks.train_step --output runs/train_step.json
```

All ways take the same pictures, of 480x640 px, and the same Swin-T architecture with random weights and no dropout.
Each runs in a process of its own, and they take turns. The first step of a process does not count; products are counted
in a further one. It needs Linux.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from benchmarks._command import exit_code, positive
from benchmarks._full_size import draw_split, full_size
from benchmarks._process import Median, machine, measured, table, write_json
from benchmarks._steps import TRIED
from gdino_lightning.model.export import export_hf

PARTS = ("load", "text", "backbone", "encoder", "decoder", "match", "loss", "forward", "backward", "step")
SIZE, LARGE = (480, 640), (800, 1333)  # px: short side, longest long side
NUM_PICTURES = 8


@dataclass(frozen=True)
class Way:
    """A row of the table.

    Attributes:
        name: Of the row.
        settings: Of `_steps.Settings`.
        size: px: short side, longest long side.
        pictures: In a step.
    """

    name: str
    settings: dict[str, Any]
    size: tuple[int, int] = SIZE
    pictures: int = 2


@dataclass
class Found:
    """What the processes of a way found.

    Attributes:
        rates: Pictures per second, one for each process, of the median step.
        peak_mb: The most memory of any.
        parts: Seconds per picture of each part, of the first process.
        gflops: Per picture; 0 where they were not counted.
        share: Of the machine's matrix rate that the counted products reach.
    """

    rates: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    gflops: float = 0.0
    share: float = 0.0

    def add(self, way: Way, told: dict[str, Any]) -> None:
        """Take in what one process told."""
        self.rates.append(way.pictures / Median.of(told["seconds"]).median)
        self.peak_mb = max(self.peak_mb, told["peak_mb"])
        self.parts = self.parts or {name: seconds / way.pictures for name, seconds in told["parts"].items()}
        if told["flops"]:
            self.gflops = told["flops"] / way.pictures / 1e9
            self.share = self.gflops * 1e9 * self.rates[-1] / told["rate"]


def ways(device: str, batch_size: int) -> list[Way]:
    """The rows: the tutorial (a), a plain loop (b), ours as it (c), and what the defaults (d) and further keys add."""
    same: dict[str, Any] = {"way": "ours", "data": {"canvas_multiple": 32}}
    mixed = {"way": "ours", "precision": "bf16-mixed"}
    frozen = {"model": {"freeze": ["text_encoder", "backbone"]}}
    rows = [
        ("a: the tutorial's way", {"way": "tutorial"}),
        ("b: plain loop over transformers", {"way": "loop"}),
        ("c: ours, as b", same),
        ("c + canvases of 64 px", {"way": "ours"}),
        ("d: c + canvases + bf16-mixed", mixed),
        ("d + frozen backbone", mixed | frozen),
        ("d + gradient checkpointing", mixed | {"model": {"gradient_checkpointing": True}}),
    ]
    sized = {"device": device, "batch_size": batch_size}
    return [Way(name, row | sized, pictures=1 if row["way"] == "tutorial" else batch_size) for name, row in rows]


def tried(rows: list[Way]) -> list[Way]:
    """The rows c and d, each alone and with what could make it faster but is not in them."""
    plain = [row for row in rows if row.name.startswith(("c:", "d:"))]
    return [
        replace(row, name=f"{row.name[0]} + {name}" if name else row.name, settings={**row.settings, "tried": name})
        for row in plain
        for name in (None, *TRIED)
    ]


def large(rows: list[Way]) -> list[Way]:
    """Steps at the published size of pictures, with gradient checkpointing."""
    checked = next(row for row in rows if "checkpointing" in row.name)
    return [
        replace(
            checked,
            name=f"{precision}, gradient checkpointing, 800/1333 px",
            settings={**checked.settings, "precision": precision},
            size=LARGE,
        )
        for precision in ("32-true", "bf16-mixed")
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Time all ways, print the tables and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=positive, default=3, help="of a process that count (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="processes of each way, in turn (%(default)s)")
    parser.add_argument("--batch_size", type=positive, default=2, help="pictures in a step (%(default)s)")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--large", action="store_true", help="only 800/1333 px with gradient checkpointing, for memory")
    others.add_argument("--tried", action="store_true", help="only what was tried and left out, beside c and d")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args(argv)
    return exit_code("train_step", lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = ways(device, options.batch_size)
    if options.large:
        rows = large(rows)
    if options.tried:
        rows = tried(rows)
    found = {row.name: Found() for row in rows}
    with TemporaryDirectory() as name:
        folder = Path(name)
        export_hf(full_size(), folder / "weights", source="random weights")
        for split in ("train", "test"):
            draw_split(folder / "data" / split, [(rows[0].size[1], rows[0].size[0])] * NUM_PICTURES)
        with tqdm(total=options.repeats * len(rows), unit="process") as progress:
            for turn in range(options.repeats):
                for row in rows:
                    progress.set_description(row.name)
                    short_side, long_side_max = row.size
                    told = measured(
                        "benchmarks._steps",
                        {
                            "weights": str(folder / "weights"),
                            "root": str(folder / "data"),
                            "short_side": short_side,
                            "long_side_max": long_side_max,
                            "steps": options.steps,
                            "count": turn == 0 and not options.tried,
                            **row.settings,
                        },
                    )
                    found[row.name].add(row, told)
                    progress.update()
    print(_summary(found, ("c", "d") if options.tried else ("a", "b")), "\n\n", _parts(found), sep="")
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine().items() if value))
    write_json(options.output, {"ways": {name: asdict(each) for name, each in found.items()}})


def _summary(found: dict[str, Found], bases: tuple[str, str]) -> str:
    """The table of all rows, beside two of them."""
    times, of_last = [f"times {base}" for base in bases], f"of {bases[-1]}'s"
    head = ["", "pictures/s", *times, "peak MB", of_last, "GFLOP/picture", "of the matrix rate"]
    rows = []
    for name, each in found.items():
        cells = [Median.of(each.rates).cell(3)]
        for key in bases:
            base = next((other for label, other in found.items() if label.startswith(f"{key}:")), None)
            paired = [ours / theirs for ours, theirs in zip(each.rates, base.rates, strict=True)] if base else []
            cells.append(Median.of(paired).cell() if paired else "-")
        cells += [f"{each.peak_mb:,.0f}", f"{each.peak_mb / base.peak_mb:.2f}" if base else "-"]
        rows.append([name, *cells, *([f"{each.gflops:,.0f}", f"{each.share:.0%}"] if each.gflops else "--")])
    return table(head, rows)


def _parts(found: dict[str, Found]) -> str:
    rows = [[name, *(f"{1e3 * each.parts.get(part, 0.0):,.0f}" for part in PARTS)] for name, each in found.items()]
    return table(["ms of a picture", *PARTS], rows)


if __name__ == "__main__":
    raise SystemExit(main())
