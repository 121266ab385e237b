"""`gdino sample`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.subjects import SUBJECTS, Subject

_PREPARED: dict[Subject, str] = {"masks": "data/sample", "world": "data/world"}


def run_sample(arguments: Sequence[str]) -> int:
    """Draw a dataset."""
    parser = LineParser(
        prog="gdino sample",
        description="Draw a dataset: PNG pictures and VOC XML, the same bytes for the same seed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--subject",
        choices=SUBJECTS,
        default="masks",
        help="masks: faces with and without masks, to train on; world: scenes of many kinds of things that the "
        "miniature was pretrained on, a `reference` to see what training makes it forget",
    )
    parser.add_argument(
        "--root", type=Path, help="folder to draw into; null: data/sample-source, or for the world data/world-source"
    )
    parser.add_argument("--num_images", type=int, default=853, help="pictures to draw")
    parser.add_argument("--seed", type=int, default=0, help="every byte follows from it")
    options = parser.parse_args(arguments)
    prepared = _PREPARED[options.subject]
    root = options.root or Path(f"{prepared}-source")
    draw_sample(root, num_images=options.num_images, seed=options.seed, subject=options.subject)
    print(f"{options.num_images} pictures in {root}")
    print(f"next: gdino prepare --source {root} --root {prepared}")
    return 0
