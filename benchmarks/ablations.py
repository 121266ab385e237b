"""What each part of the model and of its training is worth: the miniature with one key changed at a time.

```
python -m benchmarks.ablations                       # from the checkout; Ctrl-C loses only the training in progress
python -m benchmarks.ablations --report --output ablations.md
python -m benchmarks.ablations --measure inference   # the pretrained weights with a part off, nothing trained
python -m benchmarks.ablations --measure zero-shot   # the pretrained weights, which get used to it for a while
```

The variants of a seed share pictures, their order, and the initial weights; another seed has another order and other
pictures (zero-shot) or weights (fine-tuning). All train for the same steps and the last epoch is scored: nothing is
selected. Once the pictures of fine-tuning are drawn, several commands with other variants or seeds may share one folder
of runs at the same time.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks._command import end_on_sigterm, exit_code
from benchmarks._measures import MEASUREMENTS, Measurement
from benchmarks._runs import Results, Variant, claim, missing, read_results, read_settings, run_missing
from gdino_lightning.files import write_atomic

ALL = "all"  # of the variants
FINE_TUNING = "fine-tuning"

BASELINE = Variant("all on")
PARTS = (  # whose worth the paper measures
    BASELINE,
    Variant("fusion off", "fusion", False),
    Variant("text_guided_queries off", "text_guided_queries", False),
    Variant("text_cross_attention off", "text_cross_attention", False),
    Variant("sub_sentence off", "sub_sentence", False),
)
VARIANTS = (
    *PARTS,
    # choices of training, in which published trainers differ
    Variant("look_forward_twice flipped", "look_forward_twice"),
    Variant("denoising_queries 100", "denoising_queries", 100),
    Variant("class_cost token_sum", "class_cost", "token_sum"),
    Variant("special_tokens_negative false", "special_tokens_negative", False),
    Variant("match1_loss2", "class_weights", "match1_loss2"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, print the tables, and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    kind = MEASUREMENTS[_measure_parser(add_help=False).parse_known_args(argv)[0].measure]
    return exit_code("ablations", partial(_run, kind, _parser(kind).parse_args(argv)))


def train(variants: Sequence[Variant], seeds: Sequence[int], runs: Path, measurement: Measurement) -> None:
    """Measure every variant and seed that has no result yet, with a line for each.

    Args:
        variants: What to measure.
        seeds: Seeds of every variant.
        runs: Folder of all runs.
        measurement: How.

    Raises:
        GdinoError: Something given cannot be used, or a folder holds something else.
        RunError: A training or a test failed.
    """
    defaults = measurement.defaults()
    for variant in variants:
        variant.keys(defaults)  # an unknown key must not show after an hour
    claim(runs, measurement.settings)
    finished_results(variants, seeds, runs)  # those of other defaults must not show at the end
    total = len(variants) * len(seeds)
    finished = total - len(missing(variants, seeds, runs))
    print(f"{finished} of {total} runs are finished", flush=True)
    if finished < total:
        measurement.prepare()
    done = run_missing(variants, seeds, runs, measurement.measure(defaults))
    for count, (variant, seed, result) in enumerate(done, finished + 1):
        scores = ", ".join(f"{name} {result.scores[name]:.3f}" for name in measurement.shown)
        print(f"{count} of {total}: {variant.name}, seed {seed}: {scores}, {result.seconds / 60:.1f} min", flush=True)
        finished_results(variants, seeds, runs)


def finished_results(variants: Sequence[Variant], seeds: Sequence[int], runs: Path) -> Results:
    """Read the runs that are finished, and those of the baseline first of all.

    Raises:
        ConfigError: Two of them differ in more than the key of their variant.
    """
    return read_results([BASELINE, *(variant for variant in variants if variant != BASELINE)], seeds, runs)


def _run(kind: type[Measurement], options: argparse.Namespace) -> None:
    if not options.report:
        train(options.variants, options.seeds, options.runs, kind(options))
    settings = read_settings(options.runs, kind.kind)
    results = finished_results(options.variants, options.seeds, options.runs)
    text = kind.text(settings, results)
    print(text)
    if options.output is not None:
        numbers = json.dumps({"settings": vars(settings), "variants": kind.numbers(results)}, indent=1)
        write_atomic(options.output, text.encode())
        write_atomic(options.output.with_suffix(".json"), (numbers + "\n").encode())


def _measure_parser(*, add_help: bool) -> argparse.ArgumentParser:
    """Read what the other options depend on."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations",
        description="Measure the miniature with one key changed at a time, over several seeds, and print tables of "
        "mean and spread. Finished runs are kept: the same command goes on where it was interrupted.",
        epilog=f"variants: {', '.join(variant.name for variant in VARIANTS)}",
        add_help=add_help,
    )
    parser.add_argument(
        "--measure",
        choices=MEASUREMENTS,
        default=FINE_TUNING,
        help="fine-tuning on drawn classes from random weights; zero-shot: the pretrained weights, trained on for a "
        "while on the drawn world with the key changed; inference: nothing trained. Each has options of its own: add "
        "--help (%(default)s)",
    )
    return parser


def _parser(kind: type[Measurement]) -> argparse.ArgumentParser:
    parser = _measure_parser(add_help=True)
    kind.add_options(parser)
    add = parser.add_argument
    add(
        "--variants",
        type=partial(_variants, everything=PARTS if kind.parts_only else VARIANTS),
        default=ALL,
        metavar="A,B",
        help=f"what to measure; the tables compare it with the baseline (%(default)s{' parts' * kind.parts_only})",
    )
    add("--seeds", type=_seeds, default="0,1,2", metavar="0,1", help="seeds of every row (%(default)s)")
    add(
        "--runs",
        type=Path,
        default=kind.runs,
        help="folder of the runs, which have all the same sizes (%(default)s)",
    )
    add("--output", type=Path, help="FILE.md to write the tables to, and FILE.json beside it")
    add("--report", action="store_true", help="print the tables of what is finished, train nothing")
    return parser


def _variants(text: str, everything: Sequence[Variant] = VARIANTS) -> list[Variant]:
    """Read names separated by commas; hyphens may stand for blanks, and `all` for everything."""
    if text == ALL:
        return list(everything)
    known = {variant.folder: variant for variant in VARIANTS}
    chosen = []
    for name in dict.fromkeys(part.strip().replace(" ", "-") for part in text.split(",")):
        if name not in known:
            names = ", ".join(variant.name for variant in VARIANTS)
            raise argparse.ArgumentTypeError(f"there is no variant {name!r}; there are: {names}")
        chosen.append(known[name])
    return chosen


def _seeds(text: str) -> list[int]:
    """Read whole numbers separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are not whole numbers separated by commas, such as 0,1,2")
    return list(dict.fromkeys(int(part) for part in parts))


if __name__ == "__main__":
    end_on_sigterm()
    raise SystemExit(main())
