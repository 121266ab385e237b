"""Zero-shot scores on the drawn world: the pretrained miniature with one part changed, trained on or as it is.

Nothing heavy is imported before it is needed: `--help` and `--report` answer at once.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchmarks._runs import Result, Scores, Variant, gdino
from benchmarks._training import clear, keep_best, model_defaults, model_flags, trained_model

if TYPE_CHECKING:
    from gdino_lightning.data.world import Split
    from gdino_lightning.model.detector import Switches
    from gdino_lightning.model.pretrained import Pretrained

CONFIG = Path(__file__).parents[1] / "configs" / "pretrain_nano.yaml"
SPLITS: tuple["Split", ...] = ("seen", "unseen")
NUM_ABSENT, THRESHOLD = 20, 0.35  # the defaults of `gdino world`
WORLDS_FROM = 1  # seed 0 of a row draws world 1: pretraining showed the pictures of world 0
WARMUP_STEPS = 20  # of trained weights, whose optimizer knows no gradients yet
SMALL_SIDE = 0.8  # two of three training batches, as in CONFIG: 128 px beside 160


@dataclass(frozen=True)
class Asking:
    """What all runs of one table have in common that train nothing.

    Attributes:
        weights: Pretrained on the drawn world.
        num_scenes: Scenes of each sort that are asked about.
        short_side: px of both sides of such a scene.
    """

    weights: str
    num_scenes: int
    short_side: int


@dataclass(frozen=True)
class Adapting(Asking):
    """What all runs of one table have in common that train on.

    Attributes:
        num_images: New pictures to train on, each shown once.
        learning_rate: Highest rate; it falls to zero as a cosine.
    """

    num_images: int
    learning_rate: float


def metrics_of(split: str) -> list[str]:
    """Return the metrics of one sort of scenes: those of `evaluation.open_world.score_world`, in its order."""
    scores = [f"{kind}/{row}" for kind in ("map_50", "pooled_50") for row in ("kind", "attribute", "relation")]
    return [f"{split}/{name}" for name in (*scores, "quiet")]


def adapt_and_ask(
    variant: Variant, seed: int, folder: Path, *, settings: Adapting, defaults: dict[str, object]
) -> Result:
    """Train the weights on the drawn world for a while with one key changed, and score them there.

    Raises:
        ConfigError: The model has no such key.
        RunError: The training failed.
    """
    from gdino_lightning.model.pretrained import load_pretrained

    clear(folder)
    changed = model_flags(variant, defaults)
    start = time.monotonic()
    gdino("pretrain", {**_training_flags(seed, folder, settings), **changed}, folder)
    seconds = time.monotonic() - start
    loaded = load_pretrained(keep_best(folder))
    scores = _world_scores(loaded, _switches(loaded), seed, settings)
    return Result(trained_model(folder), scores, {}, seconds)


def switch_and_ask(
    variant: Variant, seed: int, folder: Path, *, settings: Asking, defaults: dict[str, object]
) -> Result:
    """Score the weights as they are, with one part switched off. The folder is not used.

    Where `text_guided_queries` is off, the decoder starts from evenly drawn anchors: pretraining has learned none.

    Raises:
        ConfigError: The variant changes something else than a part.
    """
    from gdino_lightning.model.detector import Switches
    from gdino_lightning.model.pretrained import load_pretrained

    start = time.monotonic()
    loaded = load_pretrained(settings.weights)
    switches = Switches(**(_switches(loaded).architecture | variant.keys(defaults)))  # type: ignore[arg-type]
    scores = _world_scores(loaded, switches, seed, settings)
    return Result(dict(switches.architecture), scores, {}, time.monotonic() - start)


def part_defaults() -> dict[str, object]:
    """Return the parts that can be switched off without any training, all on."""
    from gdino_lightning.model.detector import Switches

    return dict(Switches().architecture)


def pretraining_defaults() -> dict[str, object]:
    """Return the keys of the model that have a value in pretraining, with it."""
    configured: Mapping[str, object] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model"]
    return {**model_defaults(), **configured}


def _training_flags(seed: int, folder: Path, settings: Adapting) -> dict[str, object]:
    newest = {"monitor": "train/loss", "mode": "min", "keep": 1}  # of a single epoch: nothing is selected
    side = settings.short_side
    small = round(SMALL_SIDE * side)
    return {
        "config": CONFIG,
        "run": folder,
        "seed_everything": seed,
        "model.weights": settings.weights,
        "model.learning_rate": settings.learning_rate,
        "model.schedule": "cosine",
        "model.warmup_steps": WARMUP_STEPS,
        "data.num_train": settings.num_images,
        "data.seed": seed + WORLDS_FROM,
        "data.short_side": side,
        "data.long_side_max": round(side / SMALL_SIDE),
        "data.train_short_sides": [small, small, side],
        "trainer.max_epochs": 1,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": False,
        "trainer.callbacks": [
            {"class_path": "gdino_lightning.training.callbacks.EpochCheckpoints", "init_args": newest}
        ],
    }


def _switches(loaded: "Pretrained") -> "Switches":
    """Return what was on when the weights were trained."""
    from gdino_lightning.model.detector import Switches

    return Switches(**(loaded.architecture or {}))


def _world_scores(loaded: "Pretrained", switches: "Switches", seed: int, settings: Asking) -> Scores:
    """Ask about scenes that no training shows; `<split>/<metric of score_world>` -> value."""
    from gdino_lightning.evaluation.open_world import answer, ask_scene, score_world
    from gdino_lightning.model.detector import GroundingDetector

    detector = GroundingDetector(loaded.model, switches)
    world, size = seed + WORLDS_FROM, (settings.short_side, settings.short_side)
    scores: Scores = {}
    for split in SPLITS:
        questions = (ask_scene(world, index, split, size, NUM_ABSENT) for index in range(settings.num_scenes))
        answers = list(answer(detector, loaded.tokenizer, questions))
        scores |= {f"{split}/{name}": value for name, value in score_world(answers, THRESHOLD).items()}
    return scores
