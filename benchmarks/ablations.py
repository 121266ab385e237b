"""What each part of the model and of its training is worth: the miniature, trained with one key changed at a time.

```
python -m benchmarks.ablations                       # from the checkout; Ctrl-C loses only the training in progress
python -m benchmarks.ablations --report --output ablations.md
```

The variants of a seed share pictures, their order, and the initial weights; another seed has another order and other
weights. All train for the same steps and the last epoch is scored: nothing is selected on the validation part. Once the
pictures are drawn, several commands with other variants or seeds may share one folder of runs at the same time.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks._runs import (
    Measure,
    Results,
    RunError,
    Settings,
    Variant,
    claim,
    missing,
    read_results,
    read_settings,
    run_missing,
)
from benchmarks._tables import markdown, report
from benchmarks._training import RANDOM, draw_dataset, fit_and_test, model_defaults
from gdino_lightning.errors import GdinoError
from gdino_lightning.files import write_atomic

ALL = "all"  # of the variants
BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143

BASELINE = Variant("all on")
VARIANTS = (
    BASELINE,
    # the parts whose worth the paper measures
    Variant("fusion off", "fusion", False),
    Variant("text_guided_queries off", "text_guided_queries", False),
    Variant("text_cross_attention off", "text_cross_attention", False),
    Variant("sub_sentence off", "sub_sentence", False),
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
    options = _parser().parse_args(argv)
    try:
        if not options.report:
            settings = Settings(options.weights, options.num_images, options.short_side, options.epochs)
            train(options.variants, options.seeds, options.runs, settings, options.root)
        _show(
            read_settings(options.runs), finished_results(options.variants, options.seeds, options.runs), options.output
        )
    except GdinoError as error:
        return _fail(str(error), BAD_INPUT)
    except RunError as error:
        return _fail(str(error), error.code)
    except KeyboardInterrupt:
        return _fail("interrupted; finished runs are kept, the same command goes on", INTERRUPTED)
    return 0


def train(variants: Sequence[Variant], seeds: Sequence[int], runs: Path, settings: Settings, root: Path) -> None:
    """Train and score every variant and seed that has no result yet, with a line for each.

    Args:
        variants: What to train.
        seeds: Seeds of every variant.
        runs: Folder of all runs.
        settings: What they have in common.
        root: Folder of the drawn dataset.

    Raises:
        GdinoError: Something given cannot be used, or `runs` or `root` holds something else.
        RunError: A training or a test failed.
    """
    defaults = model_defaults()
    for variant in variants:
        variant.keys(defaults)  # an unknown key must not show after an hour
    claim(runs, settings)
    finished_results(variants, seeds, runs)  # those of other defaults must not show at the end
    total = len(variants) * len(seeds)
    finished = total - len(missing(variants, seeds, runs))
    print(f"{finished} of {total} runs are finished", flush=True)
    if finished < total:
        draw_dataset(root, settings.num_images)
    measure: Measure = partial(fit_and_test, settings=settings, root=root, defaults=defaults)
    for count, (variant, seed, result) in enumerate(run_missing(variants, seeds, runs, measure), finished + 1):
        scores = ", ".join(f"{name} {result.scores[name]:.3f}" for name in ("val/map", "test/map"))
        print(f"{count} of {total}: {variant.name}, seed {seed}: {scores}, {result.seconds / 60:.1f} min", flush=True)
        finished_results(variants, seeds, runs)


def finished_results(variants: Sequence[Variant], seeds: Sequence[int], runs: Path) -> Results:
    """Read the runs that are finished, and those of the baseline first of all.

    Raises:
        ConfigError: Two of them differ in more than the key of their variant.
    """
    return read_results([BASELINE, *(variant for variant in variants if variant != BASELINE)], seeds, runs)


def _show(settings: Settings, results: Results, output: Path | None) -> None:
    text = (
        f"Weights `{settings.weights}`; {settings.num_images} drawn pictures of {settings.short_side} px: half train, "
        f"a quarter validates, a quarter tests; epochs: {settings.epochs}, the last is scored.\n\n{markdown(results)}"
    )
    print(text)
    if output is not None:
        numbers = json.dumps({"settings": vars(settings), "variants": report(results)}, indent=1)
        write_atomic(output, text.encode())
        write_atomic(output.with_suffix(".json"), (numbers + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations",
        description="Train the miniature with one key changed at a time, over several seeds, and print tables of mean "
        "and spread. Finished runs are kept: the same command goes on where it was interrupted.",
        epilog=f"variants: {', '.join(variant.name for variant in VARIANTS)}",
    )
    add = parser.add_argument
    add(
        "--variants",
        type=_variants,
        default=ALL,
        metavar="A,B",
        help="what to train; the tables compare it with the baseline (%(default)s)",
    )
    add("--seeds", type=_seeds, default="0,1,2", metavar="0,1", help="seeds of every row (%(default)s)")
    add("--epochs", type=_positive, default=12, help="passes over the training pictures (%(default)s)")
    add(
        "--num_images",
        type=_positive,
        default=500,
        help="pictures to draw: 1/2 trains, 1/4 validates, 1/4 tests (%(default)s)",
    )
    add("--short_side", type=_positive, default=128, help="px of a picture, both sides fit into it (%(default)s)")
    add(
        "--weights", default=RANDOM, help="where training starts; %(default)s, the default, is drawn anew for each seed"
    )
    add(
        "--root",
        type=Path,
        default=Path("data/ablations"),
        help="folder of the dataset, drawn where it is missing (%(default)s)",
    )
    add(
        "--runs",
        type=Path,
        default=Path("runs/ablations"),
        help="folder of the runs, which have all the same sizes (%(default)s)",
    )
    add("--output", type=Path, help="FILE.md to write the tables to, and FILE.json beside it")
    add("--report", action="store_true", help="print the tables of what is finished, train nothing")
    return parser


def _variants(text: str) -> list[Variant]:
    """Read names separated by commas; hyphens may stand for blanks."""
    if text == ALL:
        return list(VARIANTS)
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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _fail(message: str, code: int) -> int:
    print(f"ablations: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    # so that the training in progress ends too; it runs in a process of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(main())
