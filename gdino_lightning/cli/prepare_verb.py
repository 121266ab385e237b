"""`gdino prepare`."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.arrange import SplitMethod
from gdino_lightning.data.download import fetched
from gdino_lightning.data.prepare import WRITERS, convert, prepare
from gdino_lightning.data.recognise import FORMATS

_DESCRIPTION = """\
Read a dataset and write train/ and test/ (and val/, where it has one), each with images/ and annotations.csv.
Running it again changes nothing. The source is a folder or zip archive in one of these layouts, recognised by looking:

{layouts}

With --to the dataset is written in another format instead.
"""


def run_prepare(arguments: Sequence[str]) -> int:
    """Turn a dataset into tables and splits, or into another format."""
    parser = LineParser(
        prog="gdino prepare",
        description=_DESCRIPTION.format(layouts="\n".join(f"  {source.layout}" for source in FORMATS.values())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source", required=True, help="zip archive or folder, or kaggle:owner/name, which is downloaded"
    )
    parser.add_argument("--root", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), help="format of the source (default: the first that it looks like)"
    )
    parser.add_argument(
        "--to", choices=tuple(WRITERS), help="write this format instead of tables; its splits are the source's"
    )
    parser.add_argument(
        "--num_train",
        type=_number,
        help="pictures in train, or their share such as 0.8; the rest is test; not used where the source has splits "
        "(default: 600, with --to all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    parser.add_argument(
        "--split",
        choices=get_args(SplitMethod),
        help="given takes the source's own splits; random; grouped keeps near-identical pictures on one side; "
        "stratified does so too and gives both sides the same share of each class's boxes (default: given where the "
        "source has splits, else random)",
    )
    parser.add_argument(
        "--on_bad",
        choices=("error", "skip"),
        default="error",
        help="stop at bad records, or drop and count them (default: error)",
    )
    options = parser.parse_args(arguments)
    common = {
        "seed": options.seed,
        "split": options.split,
        "on_bad": options.on_bad,
        "source_format": options.format,
    }
    source = fetched(options.source)
    if options.to:
        print(convert(source, options.root, options.to, num_train=options.num_train, **common))
    else:
        num_train = 600 if options.num_train is None else options.num_train
        print(prepare(source, options.root, num_train=num_train, **common))
    return 0


def _number(text: str) -> float:
    """A number of pictures, or a share of them."""
    try:
        return int(text)
    except ValueError:
        share = re.fullmatch(r"0?\.[0-9]+", text)
        if not share or float(text) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is neither a number of pictures nor a share below 1") from None
        return float(text)
