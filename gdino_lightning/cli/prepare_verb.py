"""`gdino prepare`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.prepare import prepare


def run_prepare(arguments: Sequence[str]) -> int:
    """Turn VOC XML into tables and a split."""
    parser = LineParser(
        prog="gdino prepare",
        description="Read a VOC dataset (a zip or a folder with images/ and annotations/) and write train/ and test/, "
        "each with images/, labels/ and annotations.csv. Running it again changes nothing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--source", type=Path, required=True, help="zip archive or folder")
    parser.add_argument("--root", type=Path, required=True, help="folder to write")
    parser.add_argument("--num_train", type=int, default=600, help="pictures in train; the rest is test")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    parser.add_argument(
        "--split",
        choices=("random", "grouped", "stratified"),
        default="random",
        help="grouped keeps near-identical pictures on one side; stratified does so too and gives both sides the "
        "same share of each class's boxes",
    )
    parser.add_argument(
        "--on_bad",
        choices=("error", "skip"),
        default="error",
        help="stop at bad records, or drop and count them",
    )
    options = parser.parse_args(arguments)
    summary = prepare(
        options.source,
        options.root,
        num_train=options.num_train,
        seed=options.seed,
        split=options.split,
        on_bad=options.on_bad,
    )
    print(summary)
    return 0
