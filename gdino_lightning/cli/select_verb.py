"""`gdino select`: which epoch of a run to use, and how far between the pretrained and the fine-tuned weights."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from gdino_lightning.cli.finished_run import FinishedRun, epoch_of, open_checkpoint
from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.cli.phrase_check import check_texts, read_mapping
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.cli.run_lock import hold_run
from gdino_lightning.cli.runs import CHECKPOINTS
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.calibration import Calibration, calibrate
from gdino_lightning.evaluation.records import VAL_RECORDS, RecordSet, save_records
from gdino_lightning.evaluation.selection import Candidate, Choice, choose, table
from gdino_lightning.evaluation.weight_curve import plot_weight_curve
from gdino_lightning.model.interpolate import interpolate_checkpoint
from gdino_lightning.model.pretrained import CHECKPOINT_KEY, load_pretrained, read_checkpoint
from gdino_lightning.training.callbacks.reference import Reference, ReferenceScore
from gdino_lightning.training.checkpoint_io import write_checkpoint
from gdino_lightning.training.module import GroundingDinoModule

ALPHAS = tuple(step / 10 for step in range(11))
REFERENCE_MAP = "val/reference/map"
CURVE = Path("report") / "interpolation.png"  # in a run folder


@dataclass(frozen=True)
class _Scored:
    """Weights that were validated: what they found, their working point, and what the rule looks at."""

    found: RecordSet
    calibration: Calibration
    candidate: Candidate


def run_select(arguments: Sequence[str]) -> int:
    """Score the kept epochs of a run, choose one, and hand it over as best.ckpt with its thresholds."""
    options = _parser().parse_args(arguments)
    if options.reference and not options.interpolate:
        raise ConfigError("--reference is scored along the curve: give --interpolate, too")
    quiet()
    run = FinishedRun(options.run)
    reference = _reference(run, options.reference, options.reference_phrases)
    with hold_run(run.folder):
        chosen = _select_epoch(run)
        if options.interpolate:
            _select_alpha(run, chosen, reference)
        else:
            print(f"next: gdino test --ckpt_path {chosen}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino select",
        description="Score every kept epoch of a run on its validation part and choose one: the earliest of those "
        "within one bootstrap standard error of the best mAP, unless it is clearly worse in over-detection or "
        "calibration. It becomes best.ckpt, with thresholds calibrated anew.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--run", type=Path, default=Path("runs/latest"), help="folder of the run")
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help="then look between the weights that training began with (0) and the chosen ones (1), by the same rule, "
        "and write the chosen mixture beside the epochs",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        help="folder of another prepared dataset: of equally good mixtures the one with the best zero-shot mAP on its "
        "train/, which no training saw, is taken, not the one nearest to the beginning; null: the run's `reference`",
    )
    parser.add_argument(
        "--reference_phrases",
        type=Path,
        help="YAML file, class: wording, of that dataset; null: the run's, or its labels",
    )
    return parser


def _select_epoch(run: FinishedRun) -> Path:
    if run.config["data"].get("val") == "test":
        print("note: the run validates on its test split (data.val is test), so what is chosen here was fitted to it")
    data = run.data()
    scored = [
        _score(run, open_checkpoint(path), data, _settings(path))
        for path in tqdm(run.epochs, desc="epochs", unit="epoch", leave=False)
    ]
    candidates = [each.candidate for each in scored]
    choice = choose(candidates)
    print(table([f"epoch {epoch_of(path)}" for path in run.epochs], candidates, choice), flush=True)
    path, best = run.epochs[choice.index], run.folder / CHECKPOINTS / "best.ckpt"
    _hand_over(best, read_checkpoint(path), scored[choice.index].calibration)
    scored[choice.index].calibration.save(run.folder)
    save_records(run.folder / VAL_RECORDS, scored[choice.index].found)
    print(f"{best} is epoch {epoch_of(path)}; its thresholds:")
    print(scored[choice.index].calibration.table())
    return best


def _reference(run: FinishedRun, root: Path | None, phrases: Path | None) -> Reference | None:
    """Return the reference of the run with what the command line says instead."""
    reference = Reference(str(root)) if root else run.reference
    if phrases is not None and reference is None:
        raise ConfigError("--reference_phrases: the run has no `reference`; give --reference, too")
    if reference is None:
        return None
    chosen = reference if phrases is None else replace(reference, phrases=_read_phrases(phrases))
    chosen.wordings()  # what is wrong with it must not show after an hour
    return chosen


def _select_alpha(run: FinishedRun, best: Path, reference: Reference | None) -> None:
    module, data, settings = open_checkpoint(best), run.data(), _settings(best)
    checkpoint = read_checkpoint(best)
    start = load_pretrained(run.config["model"]["weights"]).model.state_dict()
    if reference is not None:
        run.add(ReferenceScore(reference))
    scored, known = [], []
    for alpha in tqdm(ALPHAS, desc="mixtures", unit="mixture", leave=False):
        module.load_state_dict(interpolate_checkpoint(checkpoint, start, alpha)["state_dict"])
        scored.append(_score(run, module, data, settings))
        if reference is not None:
            known.append(run.logged(REFERENCE_MAP))
    candidates = [each.candidate for each in scored]
    choice = choose(candidates, known or None)
    _show_curve(run, candidates, choice, known)
    mixed = run.folder / CHECKPOINTS / f"interpolated-{ALPHAS[choice.index]:.2f}.ckpt"
    _hand_over(mixed, interpolate_checkpoint(checkpoint, start, ALPHAS[choice.index]), scored[choice.index].calibration)
    print(f"next: gdino test --ckpt_path {mixed}")


def _show_curve(run: FinishedRun, candidates: Sequence[Candidate], choice: Choice, known: Sequence[float]) -> None:
    names = [f"alpha {alpha:.1f}" for alpha in ALPHAS]
    columns = {"reference mAP": known} if known else {}
    print(table(names, candidates, choice, **columns))
    plot_weight_curve(run.folder / CURVE, ALPHAS, candidates, choice.index, known)
    print(f"curve: {run.folder / CURVE}")


def _score(
    run: FinishedRun, module: GroundingDinoModule, data: DetectionDataModule, settings: dict[str, Any]
) -> _Scored:
    found = run.validate(module, data)
    calibration = calibrate(found.records, found.class_names, **settings)
    return _Scored(found, calibration, Candidate.measure(found.records, found.class_names, calibration))


def _settings(checkpoint: Path) -> dict[str, Any]:
    """How the run calibrated, so that it is done the same way again; nothing where it did not."""
    stored = read_checkpoint(checkpoint)[CHECKPOINT_KEY].get("thresholds") or {}
    return {name: stored[name] for name in ("min_boxes", "precision", "evidence") if name in stored}


def _hand_over(path: Path, checkpoint: dict[str, Any], calibration: Calibration) -> None:
    described = checkpoint[CHECKPOINT_KEY] | {"thresholds": calibration.to_plain()}
    write_checkpoint(path, checkpoint | {CHECKPOINT_KEY: described})


def _read_phrases(file: Path) -> dict[str, str | None]:
    phrases = read_mapping(file, "a YAML file of `class: wording` lines")
    check_texts(phrases, str(file))
    return cast(dict[str, str | None], phrases)
