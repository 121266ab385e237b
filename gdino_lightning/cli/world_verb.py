"""`gdino world`: what weights know of the drawn open world, before and after fine-tuning on something else."""

import argparse
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.data.world import Split
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.open_world import ROWS, Answer, Question, answer, ask_scene, score_world
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.pretrained import load_pretrained

_SPLITS: tuple[Split, ...] = ("seen", "unseen")
_HEAD = [
    "weights",
    "scenes",
    *(f"mAP50 {row}" for row in ROWS),
    *(f"pooled {row}" for row in ROWS),
]


def run_world(arguments: Sequence[str]) -> int:
    """Score weights on the drawn open world and print a table."""
    options = _parser().parse_args(arguments)
    _check(options)
    quiet()
    names = [*_HEAD, f"absent below {options.threshold:g}"]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)
    for weights in options.weights:
        for split in _SPLITS:
            answers = _answers(weights, split, options)
            cells = [f"{value:.3f}" for value in score_world(answers, options.threshold).values()]
            print(f"| {' | '.join([weights, split, *cells])} |", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino world",
        description="Score weights zero-shot on the drawn open world. Each picture is asked for its things, by kind, "
        "by attribute or by relation, and for absent ones. Scenes are new: 'seen' has the combinations of kind, colour "
        "and texture that pretraining showed, 'unseen' also those it never did. mAP50 is the mean over phrases, pooled "
        "ranks the answers to all phrases together. Several weights show what fine-tuning has forgotten.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--weights", nargs="+", default=["nano"], help="nano, nano-random, run folders, checkpoints, ..."
    )
    parser.add_argument("--num_images", type=int, default=300, help="scenes of each sort")
    parser.add_argument("--num_absent", type=int, default=20, help="phrases a picture that are true of nothing in it")
    parser.add_argument("--size", type=int, default=160, help="px of both sides of a picture")
    parser.add_argument("--threshold", type=float, default=0.35, help="score from which a box counts as found")
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenes; pretraining validates on those of 0")
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, least in (("num_images", 1), ("num_absent", 0), ("seed", 0)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name} is {getattr(options, name)}: it must be at least {least}")
    if not 0 < options.threshold <= 1:
        raise ConfigError(f"--threshold is {options.threshold:g}: a score is above 0 and at most 1")


def _answers(weights: str, split: Split, options: argparse.Namespace) -> list[Answer]:
    loaded = load_pretrained(weights)
    detector = GroundingDetector(loaded.model, Switches(**(loaded.architecture or {})))
    return list(answer(detector, loaded.tokenizer, _questions(weights, split, options)))


def _questions(weights: str, split: Split, options: argparse.Namespace) -> Iterator[Question]:
    size = (options.size, options.size)
    for index in tqdm(range(options.num_images), desc=f"{weights}, {split}", unit="scene", leave=False):
        yield ask_scene(options.seed, index, split, size, options.num_absent)
