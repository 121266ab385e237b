"""`gdino inspect`: what should be known of a dataset before GPU time is spent on it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.data.inspection.survey import survey
from gdino_lightning.evaluation.inspection_page import write_page


def run_inspect(arguments: Sequence[str]) -> int:
    """Look at a prepared dataset, print what was found and write the page."""
    parser = LineParser(
        prog="gdino inspect",
        description="Look at a prepared dataset before training: counts, sizes, balance, boxes that are outside, tiny "
        "or drawn twice, unreadable pictures, duplicates and near-duplicates, above all those in both splits. Prints "
        "what it finds and writes a page with plots and samples; what it finds is no error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="folder that `gdino prepare` made")
    parser.add_argument("--output", type=Path, help="folder for the page; inspect/ in the root where not given")
    options = parser.parse_args(arguments)
    found = survey(options.root)
    page = write_page(found, options.output or options.root / "inspect")
    print(f"{found}\n\npage: {page}")
    return 0
