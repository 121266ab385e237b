"""A finished run, scored epoch by epoch on the test split.

What a run logs of its epochs is measured on its own validation part, at thresholds of its own. To lay runs side by
side, their epochs are opened again: all are asked about the same pictures and looked at with the same thresholds.
"""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks._runs import Scores
from gdino_lightning.cli.finished_run import FinishedRun, epoch_of, open_checkpoint
from gdino_lightning.cli.quiet import quiet
from gdino_lightning.evaluation.bootstrap import bootstrap_map
from gdino_lightning.evaluation.over_detection import over_detection
from gdino_lightning.evaluation.records import TEST_RECORDS, RecordSet, save_records
from gdino_lightning.evaluation.working_point import working_scores
from gdino_lightning.inference.thresholds import LITERATURE_SCORE, Thresholds
from gdino_lightning.model.pretrained import read_checkpoint
from gdino_lightning.training.metrics_csv import read_metrics
from gdino_lightning.training.module import GroundingDinoModule

TUTORIAL_NMS = 0.8


@dataclass(frozen=True)
class History:
    """What the epochs of a run are worth.

    Attributes:
        last: Epochs of training of the last epoch.
        chosen: Those of best.ckpt.
        epochs: A row for each epoch: `epoch` (epochs of training, 0 before any), `val/map` as the run logged it, and
            what `measure` returns for those that were tested.
    """

    last: int
    chosen: int
    epochs: list[Scores]


def score_run(folder: Path, *, selects: bool, every_epoch: bool) -> History:
    """Score a run's epochs on the test split, and keep what the handed-over one found, for `gdino compare`.

    Thresholds that a run chose on the test split itself are not used.

    Args:
        folder: The run, with all its epoch-NN.ckpt.
        selects: It hands over best.ckpt, not the last epoch.
        every_epoch: Test all epochs and the weights before training; else best.ckpt and the last epoch alone.
    """
    quiet()
    run = FinishedRun(folder)
    calibrates = run.config["data"]["val"] != "test"
    run.config["data"]["val"] = "test"
    data = run.data()
    paths = {epoch_of(path) + 1: path for path in run.epochs}
    last, chosen = max(paths), read_checkpoint(folder / "checkpoints" / "best.ckpt")["epoch"] + 1
    rows: dict[int, Scores] = {epoch: {"val/map": value} for epoch, value in _validated(folder).items()}
    if every_epoch:
        rows[0] = measure(run.validate(GroundingDinoModule(**run.config["model"]), data), None)
    for epoch in tqdm(sorted(paths if every_epoch else {chosen, last}), desc=folder.name, unit="epoch", leave=False):
        module = open_checkpoint(paths[epoch])
        found = run.validate(module, data)
        rows[epoch] = rows.get(epoch, {}) | measure(found, module.thresholds if calibrates else None)
        if epoch == (chosen if selects else last):
            save_records(folder / TEST_RECORDS, found)
    return History(last, chosen, [{"epoch": epoch, **rows[epoch]} for epoch in sorted(rows)])


def measure(found: RecordSet, calibrated: Thresholds | None) -> Scores:
    """Measure what was found in the test pictures.

    Args:
        found: Pictures with all detections.
        calibrated: The working point of the weights; None where they have none.

    Returns:
        `map` with its standard error `map_error`, `map_50`, and for each working point (`fixed`: the literature's
        thresholds; `loose`: the tutorial's NMS; `own`: the calibrated ones) `<point>/boxes_per_object`,
        `false_positives` of a picture, `ece` and `f1`; -1 where a value is undefined.
    """
    records, names = found.records, found.class_names
    estimate = bootstrap_map(records, len(names))
    scores = {"map": estimate.map.value, "map_error": estimate.map.error, "map_50": estimate.map_50.value}
    points = {
        "fixed": Thresholds.fixed(len(names)),
        "loose": Thresholds.fixed(len(names), LITERATURE_SCORE, TUTORIAL_NMS),
    }
    if calibrated:
        points["own"] = calibrated
    for point, thresholds in points.items():
        over, working = over_detection(records, names, thresholds), working_scores(records, names, thresholds)
        scores |= {f"{point}/{key}": over[f"over/{key}"] for key in ("boxes_per_object", "false_positives")}
        scores |= {f"{point}/{key}": working[f"working/{key}"] for key in ("ece", "f1")}
    return scores


def _validated(folder: Path) -> dict[int, float]:
    """Return val/map by epochs of training; the row before training has epoch 0, as the first epoch, which is later."""
    _, rows = read_metrics(folder / "metrics.csv")
    return {int(row["epoch"]) + 1: float(row["val/map"]) for row in rows if "val/map" in row}
