"""What fine-tuning makes the miniature forget, and what each cure saves: one cure at a time, from the same weights.

```
python -m benchmarks.forgetting                      # from the checkout; Ctrl-C loses only the training in progress
python -m benchmarks.forgetting --report --output forgetting.md
```

The pretrained miniature knows the drawn world. It is trained on drawn face masks, and both are scored: masks, which it
shall learn, and new scenes of the world as `reference`, of which it trains nothing. Scores are of test pictures; the
share of interpolated weights is chosen on others. The last epoch is scored: nothing else is selected.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import yaml

from benchmarks._command import end_on_sigterm, exit_code, positive
from benchmarks._runs import (
    RESULT_NAME,
    Result,
    Variant,
    claim,
    gdino,
    missing,
    read_results,
    read_settings,
    run_missing,
)
from benchmarks._tables import markdown, report
from benchmarks._training import CONFIG, clear, draw_dataset, model_defaults, model_flags, read_scores, trained_model
from gdino_lightning.files import write_atomic

METRICS = ("test/map_50", "test/map", "test/reference/map_50", "test/reference/map")
TRAINED, INTERPOLATED = "trained", "interpolated"  # what else than a key of the model makes a row
BASELINE = Variant("fine-tuned")
VARIANTS = (
    BASELINE,
    Variant("before training", TRAINED, False),
    Variant("negatives 0", "negatives", 0),
    Variant("negatives 1", "negatives", 1),
    Variant("text encoder frozen", "freeze", ["text_encoder"]),
    Variant("text encoder and backbone frozen", "freeze", ["text_encoder", "backbone"]),
    Variant("LoRA, rank 8", "lora", {"rank": 8, "alpha": 8, "layers": ["encoder", "decoder"]}),
    Variant("a third of the rate", "learning_rate", 3e-4),
    Variant("weights interpolated", INTERPOLATED, True),
)
RECIPE = {"freeze": [], "lr_multipliers": {}, "learning_rate": 1e-3, "warmup_steps": 10}  # of `fine-tuned`


@dataclass(frozen=True)
class Settings:
    """What all runs of one table have in common.

    Attributes:
        weights: Where training starts.
        num_images: Pictures with face masks; half of them train, a quarter each validates and tests.
        num_scenes: Scenes to choose the share of interpolated weights by, and as many to test on.
        short_side: px that neither side of a picture exceeds.
        epochs: Passes over the training pictures.
    """

    weights: str
    num_images: int
    num_scenes: int
    short_side: int
    epochs: int


@dataclass(frozen=True)
class Places:
    """Folders: of the masks, of the scenes, of all runs."""

    masks: Path
    world: Path
    runs: Path


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, print the tables, and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    return exit_code("forgetting", partial(_run, _parser().parse_args(argv)))


def train(seeds: range, settings: Settings, places: Places) -> None:
    """Make every run that has no result yet, with a line for each.

    Args:
        seeds: Seeds of every row.
        settings: What the runs have in common.
        places: Where everything is.

    Raises:
        GdinoError: Something given cannot be used, or a folder holds something else.
        RunError: A verb failed.
    """
    known = defaults()
    for variant in VARIANTS:
        variant.keys(known)  # an unknown key must not show after an hour
    claim(places.runs, settings)
    total, open_ = len(VARIANTS) * len(seeds), len(missing(VARIANTS, seeds, places.runs))
    if open_:
        draw_dataset(places.masks, settings.num_images)
        draw_world(places.world, settings.num_scenes)
    measure = partial(make_run, settings=settings, places=places, known=known)
    for count, (variant, seed, result) in enumerate(
        run_missing(VARIANTS, seeds, places.runs, measure), total - open_ + 1
    ):
        scores = ", ".join(f"{name} {result.scores[name]:.3f}" for name in METRICS)
        print(f"{count} of {total}: {variant.name}, seed {seed}: {scores}, {result.seconds / 60:.1f} min", flush=True)


def make_run(
    variant: Variant, seed: int, folder: Path, *, settings: Settings, places: Places, known: dict[str, object]
) -> Result:
    """Make and test the weights of one row; those of `fine-tuned` with this seed are there before they are mixed."""
    clear(folder)
    start = time.monotonic()
    arguments = _arguments(seed, folder, settings, places)
    if variant.key == TRAINED:
        gdino("test", arguments, folder)
        return Result({TRAINED: False}, read_scores(folder), {}, time.monotonic() - start)
    if variant.key == INTERPOLATED:
        done = places.runs / BASELINE.folder / f"seed-{seed}"
        shutil.copytree(done, folder, ignore=shutil.ignore_patterns(RESULT_NAME))
        gdino("select", {"run": folder}, folder, "--interpolate")
        (checkpoint,) = (folder / "checkpoints").glob("interpolated-*.ckpt")
    else:
        recipe = {f"model.{key}": value for key, value in RECIPE.items()}
        gdino("fit", {**arguments, **recipe, **model_flags(variant, known)}, folder)
        checkpoint = folder / "checkpoints" / "best.ckpt"
    gdino("test", {"ckpt_path": checkpoint}, folder)
    model = trained_model(folder) | {TRAINED: True, INTERPOLATED: variant.key == INTERPOLATED}
    return Result(model, read_scores(folder), {}, time.monotonic() - start)


def defaults() -> dict[str, object]:
    """Return what a row can change, each with its value in `fine-tuned`."""
    configured: Mapping[str, object] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model"]
    return {**model_defaults(), **configured, **RECIPE, TRAINED: True, INTERPOLATED: False}


def draw_world(root: Path, num_scenes: int) -> None:
    """Draw the reference: `num_scenes` scenes to choose by and as many to test on."""
    from gdino_lightning.data.prepare import prepare
    from gdino_lightning.data.sample import draw_sample

    source, seen = root.with_name(f"{root.name}-source"), sys.stderr.isatty()
    draw_sample(source, num_images=2 * num_scenes, seed=1, subject="world", progress=seen)  # pretraining showed world 0
    prepare(source, root, num_train=num_scenes, progress=seen)


def _arguments(seed: int, folder: Path, settings: Settings, places: Places) -> dict[str, object]:
    return {
        "config": CONFIG,
        "run": folder,
        "seed_everything": seed,
        "model.weights": settings.weights,
        "data.root": places.masks,
        "data.source": None,
        "data.val": 1 / 3,  # of what does not test
        "data.seed": seed,
        "data.short_side": settings.short_side,
        "data.long_side_max": settings.short_side,
        "reference": {"root": str(places.world), "num_pictures": settings.num_scenes},
        "trainer.max_epochs": settings.epochs,
        "trainer.check_val_every_n_epoch": settings.epochs,  # once, at the end: best.ckpt is the last epoch
        "trainer.num_sanity_val_steps": 0,
        "trainer.enable_progress_bar": False,
        "trainer.callbacks": [
            {"class_path": "gdino_lightning.training.callbacks.EpochCheckpoints", "init_args": {"keep": 1}}
        ],
    }


def _run(options: argparse.Namespace) -> None:
    seeds, runs = range(options.seeds), options.runs
    if not options.report:
        settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
        train(seeds, settings, Places(options.root, options.reference, runs))
    settings, results = read_settings(runs, Settings), read_results(VARIANTS, seeds, runs)
    text = f"{_intro(settings)}\n\n{markdown(results, METRICS)}"
    print(text)
    if options.output is not None:
        numbers = json.dumps({"settings": vars(settings), "variants": report(results, METRICS)}, indent=1)
        write_atomic(options.output, text.encode())
        write_atomic(options.output.with_suffix(".json"), (numbers + "\n").encode())


def _intro(settings: Settings) -> str:
    return (
        f"Weights `{settings.weights}`, trained on {settings.num_images} drawn pictures with face masks (half trains, "
        f"a quarter validates, a quarter tests), {settings.short_side} px, epochs: {settings.epochs}, all parts at the "
        f"rate {RECIPE['learning_rate']:g}, all absent classes in a prompt. `reference` is the drawn world, asked for "
        f"all its kinds in {settings.num_scenes} new scenes."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forgetting",
        description="Fine-tune the pretrained miniature with one cure for forgetting at a time, and print what it has "
        "learned beside what it still knows. Finished runs are kept: the same command goes on where it was "
        "interrupted.",
    )
    add = parser.add_argument
    add("--seeds", type=positive, default=1, help="runs of every row (%(default)s)")
    add("--epochs", type=positive, default=6, help="passes over the training pictures (%(default)s)")
    add("--num_images", type=positive, default=200, help="pictures with face masks (%(default)s)")
    add("--num_scenes", type=positive, default=100, help="scenes to choose by, and as many to test on (%(default)s)")
    add("--short_side", type=positive, default=128, help="px of a picture, both sides fit into it (%(default)s)")
    add("--weights", default="nano", help="pretrained on the drawn world (%(default)s)")
    add("--root", type=Path, default=Path("data/forgetting"), help="folder of the masks, drawn where it is missing")
    add(
        "--reference",
        type=Path,
        default=Path("data/forgetting-world"),
        help="folder of the scenes, drawn where it is missing",
    )
    add("--runs", type=Path, default=Path("runs/forgetting"), help="folder of the runs, which have all the same sizes")
    add("--output", type=Path, help="FILE.md to write the tables to, and FILE.json beside it")
    add("--report", action="store_true", help="print the tables of what is finished, train nothing")
    return parser


if __name__ == "__main__":
    end_on_sigterm()
    raise SystemExit(main())
