"""`gdino train`: a stranger's folder, from start to finish."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gdino_lightning.cli import run_verb
from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.cli.phrase_check import load_strict, read_text
from gdino_lightning.cli.plan import Facts, plan
from gdino_lightning.cli.runs import CHECKPOINTS, forget_run, new_run
from gdino_lightning.cli.train_facts import facts_of
from gdino_lightning.data.download import fetched, is_remote, name_of
from gdino_lightning.data.prepare import prepare
from gdino_lightning.data.publish import MANIFEST, finish_preparation
from gdino_lightning.data.recognise import FORMATS
from gdino_lightning.data.source import TRAIN
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.errors import ConfigError
from gdino_lightning.files import write_atomic

WEIGHTS = "IDEA-Research/grounding-dino-tiny"
RECIPE = "train"  # .yaml in the prepared folder; -2.yaml, -3.yaml, ... for others
BEST, LAST, EXPORTED = f"{CHECKPOINTS}/best.ckpt", f"{CHECKPOINTS}/last.ckpt", "exported"  # in the run folder
_TRAIN_SHARE = 0.8  # of the pictures, where the dataset has no splits


def run_train(arguments: Sequence[str]) -> int:
    """Prepare, choose a recipe, fit, select, test and export."""
    options = _parser().parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        raise ConfigError(f"--epochs is {options.epochs}, expected at least 1")
    root = _prepared(options)
    facts = facts_of(root, weights=options.weights, phrases=options.phrases, epochs=options.epochs, seed=options.seed)
    started = _started(root, facts)
    try:
        run = started or new_run(Path("runs") / _name(options))
        recipe = plan(replace(facts, run=str(run)))
        path = _write(root, recipe)
        print(f"\n{recipe}\nwritten to {path}; to repeat or change it: gdino fit --config {path}", flush=True)
        return 0 if options.plan_only else _run(path, run, resume=started is not None)
    finally:
        forget_run()


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino train",
        description="From a folder of labelled pictures to a fine-tuned model: recognises the format, splits where no "
        "split is given (near-identical pictures on one side, classes in equal shares), chooses a recipe and prints it "
        "with its reasons as the YAML that repeats it, then fits, selects an epoch, calibrates, tests, reports and "
        "exports. The same command goes on where it was stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "path",
        type=Path,
        metavar="PATH",
        help="folder or zip of any format that `gdino prepare` reads, a folder it made, or kaggle:owner/name",
    )
    add("--phrases", help="wordings: a YAML file of `class: wording` lines; default: the class names, _ as space")
    add("--weights", default=WEIGHTS, help="where training starts: a hub id, a folder, a checkpoint, or nano")
    add("--name", help="name of the data and run folders; default: that of PATH")
    add("--epochs", type=int, help="at most so many; default: by the number of pictures")
    add("--seed", type=int, default=0, help="of the split and the run")
    add("--format", choices=tuple(FORMATS), help="format of PATH; default: the first that it looks like")
    add("--on_bad", choices=("error", "skip"), default="error", help="stop at bad records, or drop and count them")
    add("--plan_only", action="store_true", help="stop after the recipe is printed")
    return parser


def _name(options: argparse.Namespace) -> str:
    if options.name:
        return str(options.name)
    return name_of(options.path) if is_remote(options.path) else options.path.resolve().stem


def _prepared(options: argparse.Namespace) -> Path:
    """The prepared folder: the given one, or one that is made of it."""
    given: Path = options.path
    finish_preparation(given)
    if (given / MANIFEST).is_file() and (given / TRAIN / TABLE_NAME).is_file():
        return given
    root = Path("data") / _name(options)
    summary = prepare(
        fetched(given),
        root,
        num_train=_TRAIN_SHARE,
        seed=options.seed,
        otherwise="stratified",
        on_bad=options.on_bad,
        source_format=options.format,
    )
    print(summary, flush=True)
    return root


def _started(root: Path, facts: Facts) -> Path | None:
    """The run of what is chosen again, if it has something to go on from."""
    for recipe in sorted(root.glob(f"{RECIPE}*.yaml")):
        run = _run_of(recipe)
        if run and (run / LAST).is_file() and plan(replace(facts, run=str(run))) == read_text(recipe):
            return run
    return None


def _write(root: Path, recipe: str) -> Path:
    """Write a recipe beside others: they may have been changed by hand."""
    path, number = root / f"{RECIPE}.yaml", 1
    while path.exists() and read_text(path) != recipe:
        number += 1
        path = root / f"{RECIPE}-{number}.yaml"
    write_atomic(path, recipe.encode())
    return path


def _run_of(recipe: Path) -> Path | None:
    written = load_strict(read_text(recipe), str(recipe))
    run = written.get("run") if isinstance(written, dict) else None
    return Path(run) if isinstance(run, str) else None


def _run(recipe: Path, run: Path, *, resume: bool) -> int:
    """Fit, or go on with what was stopped; then select, test and export."""
    made = f"model: {run / EXPORTED}\nreport: {run / 'report' / 'report.html'}"
    if (run / EXPORTED).is_dir():
        print(f"{run} has this recipe and is finished\n{made}")
        return 0
    steps, done = _steps(recipe, run, resume=resume), 0
    try:
        for number, step in enumerate(steps, 1):
            print(f"\n{number} of {len(steps)}: gdino {' '.join(step)}", flush=True)
            if code := run_verb(step[0], step[1:]):
                return code
            done = number
    finally:
        if done < len(steps) and (run / LAST).is_file():
            print("the same `gdino train` goes on from the last epoch that was kept", file=sys.stderr)
    print(f"\n{made}")
    return 0


def _steps(recipe: Path, run: Path, *, resume: bool) -> list[list[str]]:
    """What is run, as it would be typed."""
    best, last = str(run / BEST), str(run / LAST)
    return [
        ["fit", "--ckpt_path", last] if resume else ["fit", "--config", str(recipe)],
        ["select", "--run", str(run)],
        ["test", "--ckpt_path", best],
        ["export", "--weights", best, "--format", "hf", "--output", str(run / EXPORTED)],
    ]
