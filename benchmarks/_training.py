"""One run of the miniature on the drawn dataset: trained with `gdino fit`, scored with `gdino test`.

`_zero_shot` measures in other ways.
"""

import inspect
import shutil
import sys
import time
from pathlib import Path

import yaml

from benchmarks._runs import Result, Scores, Settings, Variant, gdino

CONFIG = Path(__file__).parents[1] / "configs" / "sample.yaml"
RANDOM = "nano-random"
DRAWN = "weights"  # folder of a run's random weights


def fit_and_test(
    variant: Variant, seed: int, folder: Path, *, settings: Settings, root: Path, defaults: dict[str, object]
) -> Result:
    """Train one variant with one seed and score its last epoch; the baseline also with the other token score.

    Raises:
        ConfigError: The model has no such key.
        RunError: A training or a test failed.
    """
    clear(folder)
    changed = model_flags(variant, defaults)
    weights = {"model.weights": _weights(settings.weights, seed, folder)}
    start = time.monotonic()
    gdino("fit", {**_fit_arguments(seed, folder, settings, root), **weights, **changed}, folder)
    seconds = time.monotonic() - start
    checkpoint = keep_best(folder)
    gdino("test", {"ckpt_path": checkpoint}, folder)
    scores = read_scores(folder)
    model = trained_model(folder)
    by_token_score: dict[str, Scores] = {}
    if variant.key is None:
        usual, other = ("mean", "max") if model["token_score"] == "mean" else ("max", "mean")
        for verb in ("validate", "test"):
            gdino(verb, {"ckpt_path": checkpoint, "model.token_score": other}, folder)
        by_token_score = {usual: scores, other: read_scores(folder)}
    return Result(model, scores, by_token_score, seconds)


def model_defaults() -> dict[str, object]:
    """Return the keys of the model that have a default, with it."""
    from gdino_lightning.training.module import GroundingDinoModule  # takes seconds: not for --help and --report

    parameters = inspect.signature(GroundingDinoModule).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def model_flags(variant: Variant, defaults: dict[str, object]) -> dict[str, object]:
    """Return what the variant changes as the command line names it."""
    return {f"model.{key}": value for key, value in variant.keys(defaults).items()}


def clear(folder: Path) -> None:
    """Delete what a run left that was broken off."""
    if folder.exists():
        shutil.rmtree(folder)


def keep_best(folder: Path) -> Path:
    """Delete the other weights of a run, five times as large together, and return the best checkpoint."""
    best = folder / "checkpoints" / "best.ckpt"
    for path in best.parent.glob("*.ckpt"):
        if path != best:
            path.unlink()
    if (folder / DRAWN).exists():
        shutil.rmtree(folder / DRAWN)
    return best


def trained_model(folder: Path) -> dict[str, object]:
    """Return the model's keys that a run had, without where its weights came from."""
    model: dict[str, object] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]
    del model["weights"]
    return model


def draw_dataset(root: Path, num_images: int) -> None:
    """Draw the sample dataset and split it: a quarter to test, the rest to train and validate."""
    from gdino_lightning.data.prepare import prepare
    from gdino_lightning.data.sample import draw_sample

    source = root.with_name(f"{root.name}-source")
    seen = sys.stderr.isatty()
    draw_sample(source, num_images=num_images, progress=seen)
    prepare(source, root, num_train=num_images - num_images // 4, progress=seen)


def _fit_arguments(seed: int, folder: Path, settings: Settings, root: Path) -> dict[str, object]:
    checkpoints = {"class_path": "gdino_lightning.training.callbacks.EpochCheckpoints", "init_args": {"keep": 1}}
    return {
        "config": CONFIG,
        "run": folder,
        "seed_everything": seed,
        "model.look_forward_twice": True,  # the model's default, which the configuration changes
        "data.root": root,
        "data.source": None,
        "data.val": 1 / 3,  # of what does not test
        "data.seed": seed,
        "data.short_side": settings.short_side,
        "data.long_side_max": settings.short_side,
        "trainer.max_epochs": settings.epochs,
        "trainer.check_val_every_n_epoch": settings.epochs,  # once, at the end: best.ckpt is the last epoch
        "trainer.num_sanity_val_steps": 0,
        "trainer.enable_progress_bar": False,
        "trainer.callbacks": [checkpoints],
    }


def _weights(weights: str, seed: int, folder: Path) -> str | Path:
    """Return where training starts: as given, or weights drawn from the seed, saved in the run's folder."""
    if weights != RANDOM:
        return weights
    from transformers import PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    from gdino_lightning.model.nano import random_nano
    from gdino_lightning.model.nano.tokenizer import nano_tokenizer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = PreTrainedTokenizerFast(tokenizer_object=nano_tokenizer(), **special)  # type: ignore[no-untyped-call]
    words.save_pretrained(folder / DRAWN)
    random_nano(seed).save_pretrained(folder / DRAWN)
    return folder / DRAWN


def read_scores(folder: Path) -> Scores:
    """Return the newest value of every metric of validation and test."""
    from gdino_lightning.training.metrics_csv import read_metrics

    _, rows = read_metrics(folder / "metrics.csv")
    return {name: float(row[name]) for row in rows for name in row if name.startswith(("val/", "test/"))}
