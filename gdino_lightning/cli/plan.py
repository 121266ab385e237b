"""Which settings suit a dataset and a machine: the choice of `gdino train`, each with its reason.

The numbers are those of published fine-tuning recipes of this model, which `configs/` name as well: the official paper
(2303.05499), Open-GroundingDino's configuration for custom datasets, and MM-GDINO's for 144 pictures of cats.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import yaml

NANO = ("nano", "nano-random")
_TINY_SET = 200  # pictures; below, the recipe of MM-GDINO's cats
_FEW_STEPS = 300  # of the optimizer: what a small set is trained for at least
_EFFECTIVE_BATCH = 8  # pictures a step, of 8 to 16 in published recipes
_MANY_CLASSES = 80
_CACHE_SHARE = 0.25  # of the memory that decoded pictures may take


@dataclass(frozen=True)
class Facts:
    """What the choice looks at.

    Attributes:
        root: Prepared folder.
        data: Digest of its tables.
        run: Folder of the run.
        weights: Where training starts.
        phrases: Class name -> wording.
        pictures: Pictures of the training split.
        has_val: There is a val split.
        pixels: Of all training pictures together.
        gpu_gb: Memory of the GPU; 0 where there is none.
        bf16: The GPU computes in bfloat16.
        memory_gb: Memory of the machine.
        cores: Processors.
        epochs: What the user asked for; None leaves it to the recipe.
        seed: Of the run.
    """

    root: str
    data: str
    run: str
    weights: str
    phrases: Mapping[str, str]
    pictures: int
    has_val: bool
    pixels: int
    gpu_gb: float
    bf16: bool
    memory_gb: float
    cores: int
    epochs: int | None = None
    seed: int = 0


class Choice(NamedTuple):
    """One key of a configuration, its value and the reason."""

    section: str
    key: str
    value: object
    why: str


def plan(facts: Facts) -> str:
    """Choose the settings of a run.

    Args:
        facts: Of the dataset and the machine.

    Returns:
        A configuration of `gdino fit`; a comment beside each key says why.
    """
    nano = facts.weights in NANO
    trained = facts.pictures if facts.has_val else facts.pictures - max(1, round(facts.pictures * _held_out(facts)))
    batch = max(1, min(_EFFECTIVE_BATCH, trained // 4))
    steps = max(1, math.ceil(trained / batch))
    epochs = facts.epochs or _epochs(facts.pictures, steps, nano)
    choices = [
        *_model(facts, nano, min(150, max(1, steps * epochs // 10))),
        *_data(facts, nano, batch),
        *_trainer(facts, nano, epochs),
    ]
    return _render(facts, choices, nano)


def _model(facts: Facts, nano: bool, warmup: int) -> list[Choice]:
    tiny = facts.pictures < _TINY_SET
    choices: list[tuple[str, object, str]] = [
        ("weights", facts.weights, "where training starts"),
        ("phrases", dict(facts.phrases), "class name -> what the model reads: wording matters, try `gdino phrases`"),
    ]
    if nano:
        choices += [
            ("learning_rate", 1e-3, "the miniature takes ten times the usual rate"),
            ("freeze", [], "the miniature knows few words: everything learns"),
            ("lr_multipliers", {}, "at one rate"),
            ("schedule", "cosine", "to zero at the last step"),
        ]
    else:
        choices += [
            ("learning_rate", 1e-4, "official paper and Open-GroundingDino"),
            (
                "freeze",
                ["text_encoder", "backbone"] if tiny else ["text_encoder"],
                f"fewer than {_TINY_SET} pictures: MM-GDINO's recipe for 144 keeps the backbone, too"
                if tiny
                else "a moving text encoder forgets words",
            ),
            ("lr_multipliers", {}, "nothing else is slowed")
            if tiny
            else ("lr_multipliers", {"backbone": 0.1}, "official paper: 1e-5 for the backbone"),
            ("schedule", "drop", "to a tenth at 70 % of the steps"),
        ]
    if len(facts.phrases) > _MANY_CLASSES:
        choices.append(("negatives", 20, f"more than {_MANY_CLASSES} classes: so many absent ones a prompt (MM-GDINO)"))
    if 0 < facts.gpu_gb < 24 and not nano:
        choices.append(
            ("gradient_checkpointing", True, f"{facts.gpu_gb:.0f} GB of GPU memory: less of it, longer steps")
        )
    choices.append(("warmup_steps", warmup, "a tenth of the steps, at most 150"))
    return [Choice("model", *choice) for choice in choices]


def _data(facts: Facts, nano: bool, batch: int) -> list[Choice]:
    choices: list[tuple[str, object, str]] = [("root", facts.root, "tables and pictures that `prepare` wrote")]
    if facts.has_val:
        choices.append(("val", "val", "the dataset has a val split"))
    else:
        share = _held_out(facts)
        choices.append(
            ("val", share, f"{share:.0%} of {facts.pictures:,} training pictures choose epoch and thresholds")
        )
    alone = bool(facts.gpu_gb) and not nano
    choices.append(("batch_size", batch, f"pictures a step, {'split as memory allows' if alone else 'of one canvas'}"))
    choices.append(("eval_batch_size", 16 if nano else 2, "pictures in a batch of validation and test"))
    if nano:
        choices += [
            ("short_side", 192, "px; what the miniature was trained on"),
            ("long_side_max", 192, "px"),
            ("canvas_multiple", 32, "px"),
        ]
    elif facts.gpu_gb:
        choices += [
            ("short_side", 800, "px; the published rule"),
            ("long_side_max", 1333, "px"),
            ("train_short_sides", [480, 560, 640, 720, 800], "one is drawn for every batch (Open-GroundingDino)"),
        ]
    else:
        choices += [
            ("short_side", 480, "px; no GPU: 800 would be 2.8 times the pixels"),
            ("long_side_max", 800, "px"),
        ]
    fits = 3 * facts.pixels / 1e9 < _CACHE_SHARE * facts.memory_gb
    choices.append(("cache", fits, f"decoded pictures take {3 * facts.pixels / 1e9:.1f} of {facts.memory_gb:.0f} GB"))
    workers = max(0, min(4, facts.cores - 2))
    choices.append(("num_workers", workers, f"{facts.cores} processors"))
    return [Choice("data", *choice) for choice in choices]


def _trainer(facts: Facts, nano: bool, epochs: int) -> list[Choice]:
    why = "asked for" if facts.epochs else "at most: early stopping may end it"
    choices: list[tuple[str, object, str]] = [
        ("max_epochs", epochs, why),
        ("accelerator", "gpu" if facts.gpu_gb else "cpu", "as found"),
        ("devices", 1, "one process; several: docs/scale.md"),
        ("precision", *_precision(facts)),
        ("check_val_every_n_epoch", max(1, epochs // 15), "about 15 validations"),
    ]
    return [Choice("trainer", *choice) for choice in choices]


def _precision(facts: Facts) -> tuple[str, str]:
    if not facts.gpu_gb:
        return "32-true", "no GPU"
    if not facts.bf16:
        return "16-mixed", "this GPU has no bfloat16; matcher and losses stay in float32"
    return "bf16-mixed", "matcher and losses stay in float32"


def _held_out(facts: Facts) -> float:
    return 0.2 if facts.pictures < _TINY_SET else 0.1


def _epochs(pictures: int, steps: int, nano: bool) -> int:
    """Epochs of the published recipes, and more where they would be too few steps."""
    published = 20 if pictures < _TINY_SET else 15 if pictures < 10_000 else 12
    return max(6 if nano else published, math.ceil(_FEW_STEPS / steps))


def _callbacks(nano: bool, gpu: bool) -> list[str]:
    ours = "gdino_lightning.training.callbacks."
    lines = ["callbacks:  # what a run does between steps"]
    if gpu and not nano:
        lines.append(f"  - class_path: {ours}AutoBatch  # the largest micro-batch that fits")
    if nano:
        lines += [f"  - class_path: {ours}RampedEMA", "    init_args: {decay: 0.99}  # averaged weights are kept"]
    collapse = 0.5 if nano else 0.2
    return [
        *lines,
        f"  - class_path: {ours}GuardedEarlyStopping  # stops when nothing is gained, or much is lost",
        f"    init_args: {{monitor: val/map, mode: max, patience: 5, min_delta: 0.002, collapse_share: {collapse}}}",
        f"  - class_path: {ours}Calibrate  # thresholds, by the validation part",
        f"  - class_path: {ours}EpochCheckpoints  # best.ckpt is the earliest epoch within an error of the best",
        "    init_args: {monitor: val/map, keep: 5}",
        f"  - class_path: {ours}DetectionPictures  # truth beside predictions",
        f"  - class_path: {ours}ResultsPlot  # report/results.png",
        f"  - class_path: {ours}RunReport  # report/report.html",
    ]


def _render(facts: Facts, choices: Sequence[Choice], nano: bool) -> str:
    lines = [
        f"# Chosen by `gdino train` for {facts.pictures:,} training pictures and {len(facts.phrases):,} classes.",
        f"# Data: {facts.data}",
        f"run: {_plain(facts.run)}",
        f"seed_everything: {facts.seed}",
    ]
    for section in ("model", "data", "trainer"):
        lines.append(f"{section}:")
        for choice in choices:
            if choice.section == section:
                lines += _key(choice)
    lines += [f"  {line}" for line in _callbacks(nano, bool(facts.gpu_gb))]
    return "\n".join(lines) + "\n"


def _key(choice: Choice) -> list[str]:
    if isinstance(choice.value, Mapping) and choice.value and choice.key == "phrases":
        entries = [f"    {_plain(name)}: {_plain(value)}" for name, value in choice.value.items()]
        return [f"  {choice.key}:  # {choice.why}", *entries]
    return [f"  {choice.key}: {_plain(choice.value)}  # {choice.why}"]


def _plain(value: object) -> str:
    """One line of YAML that is read back as it is."""
    if isinstance(value, float):
        return f"{value:.1e}" if value < 0.01 else repr(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf, sort_keys=False)
    return text.strip().removesuffix("...").strip()
