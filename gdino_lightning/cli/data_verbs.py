"""`gdino sample` and `gdino prepare`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.subjects import SUBJECTS, Subject

_PREPARED: dict[Subject, str] = {"masks": "data/sample", "world": "data/world"}


def run_sample(arguments: Sequence[str]) -> int:
    """Draw a dataset."""
    parser = _parser("sample", "Draw a dataset: PNG pictures and VOC XML, the same bytes for the same seed.")
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


def run_prepare(arguments: Sequence[str]) -> int:
    """Turn VOC XML into tables and a split."""
    parser = _parser(
        "prepare",
        "Read a VOC dataset (a zip or a folder with images/ and annotations/) and write train/ and test/, each with "
        "images/, labels/ and annotations.csv. Running it again changes nothing.",
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


def _parser(verb: str, description: str) -> argparse.ArgumentParser:
    return LineParser(
        prog=f"gdino {verb}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
