"""`gdino compare`: do two runs differ on the test split, or could other pictures have turned it round?"""

import argparse
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.bootstrap import Estimate, MapEstimate, bootstrap_difference, bootstrap_map
from gdino_lightning.evaluation.records import TEST_RECORDS, load_records


def run_compare(arguments: Sequence[str]) -> int:
    """Print the test mAP of two runs and a paired bootstrap interval of the difference."""
    options = _parser().parse_args(arguments)
    if options.num_resamples < 2:
        raise ConfigError(f"--num_resamples is {options.num_resamples}: an interval needs at least 2, 1000 is usual")
    first, second = (load_records(run / TEST_RECORDS) for run in options.runs)
    _check_same("class", options.runs, first.class_names, second.class_names)
    _check_same("picture", options.runs, first.picture_names, second.picture_names)
    num_classes, how = len(first.class_names), (options.num_resamples, options.seed)
    difference = bootstrap_difference(first.records, second.records, num_classes, *how)
    print(f"{len(first.records)} test pictures, {options.num_resamples} resamples of them; in brackets 95 % intervals")
    print("| run | mAP | mAP50 |\n|---|---|---|")
    for run, found in zip(options.runs, (first, second), strict=True):
        print(_row(str(run), bootstrap_map(found.records, num_classes, *how), ""))
    print(_row(f"{options.runs[1]} less {options.runs[0]}", difference, "+"))
    print(_verdict(options.runs, difference.map))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino compare",
        description="Compare two tested runs, picture by picture: both are scored on the same resamples of the test "
        "split (paired bootstrap), so what is hard for both cancels out.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="run folder, after `gdino test`")
    parser.add_argument("--num_resamples", type=int, default=1000, help="how often the pictures are drawn anew")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    return parser


def _check_same(what: str, runs: Sequence[Path], first: Sequence[str], second: Sequence[str]) -> None:
    for place, (one, other) in enumerate(zip_longest(first, second)):
        if one != other:
            raise ConfigError(
                f"{runs[0]} and {runs[1]} were tested on different {what} lists: number {place + 1} is {one!r} in the "
                f"first and {other!r} in the second; compare runs on one dataset with the same phrases"
            )


def _row(name: str, estimate: MapEstimate, sign: str) -> str:
    return f"| {name} | {_cell(estimate.map, sign)} | {_cell(estimate.map_50, sign)} |"


def _cell(estimate: Estimate, sign: str) -> str:
    value, low, high = (f"{number:{sign}.3f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _verdict(runs: Sequence[Path], difference: Estimate) -> str:
    if difference.low > 0 or difference.high < 0:
        better = runs[1] if difference.value > 0 else runs[0]
        return f"{better} is better: the interval of the difference in mAP leaves out 0"
    return "no difference is shown: the interval of the difference in mAP holds 0"
