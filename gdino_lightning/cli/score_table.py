"""The scores of a split in as few lines as there are classes; Lightning's own table has a line for every key."""

from collections.abc import Mapping, Sequence

from lightning.pytorch import Trainer
from torch import Tensor

from gdino_lightning.evaluation.reliability import UNDEFINED
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.module import GroundingDinoModule

MOST_CLASSES = 100  # lines
_OVERALL = {
    "map": "mAP",
    "map_50": "mAP50",
    "map_75": "mAP75",
    "map_small": "small",
    "map_medium": "medium",
    "map_large": "large",
}
_COLUMNS = {
    "map": "mAP",
    "working/precision": "precision",
    "working/recall": "recall",
    "working/f1": "F1",
    "over/boxes_per_object": "boxes/object",
}


def scores_of(trainer: Trainer, module: GroundingDinoModule, stage: str) -> str:
    """Return what to print when `trainer` has scored `module`: the table, and where all numbers are."""
    lines = []
    if f"{stage}/map" in trainer.callback_metrics:  # not where all batches are left out
        calibrated = module.thresholds is not None
        lines.append(score_table(trainer.callback_metrics, stage, module.class_names, calibrated=calibrated))
    lines += [f"all numbers: {each.path}" for each in trainer.loggers if isinstance(each, MetricsCSVLogger)]
    return "\n".join(lines)


def score_table(
    metrics: Mapping[str, float | Tensor], stage: str, class_names: Sequence[str], *, calibrated: bool
) -> str:
    """Return the scores over all classes, and a line for each class.

    Args:
        metrics: What was logged, by key; -1 where a value is undefined.
        stage: `val` or `test`.
        class_names: The classes; those beyond `MOST_CLASSES` are left out.
        calibrated: Whether the thresholds were calibrated.
    """
    overall = {name: float(metrics[f"{stage}/{key}"]) for key, name in _OVERALL.items()}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in overall.items() if value != UNDEFINED)
    lines = [f"{stage}: {shown or 'no box to score by'}", f"| class | {' | '.join(_COLUMNS.values())} |"]
    lines.append("|---" * (len(_COLUMNS) + 1) + "|")
    rows = [("all", ""), *((name, f"/{name}") for name in class_names[:MOST_CLASSES])]
    for name, suffix in rows:
        cells = (_cell(float(metrics[f"{stage}/{key}{suffix}"])) for key in _COLUMNS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if len(class_names) > MOST_CLASSES:
        lines.append(f"... and {len(class_names) - MOST_CLASSES:,} classes more")
    fixed = f"fixed thresholds, score {LITERATURE_SCORE} and NMS IoU {LITERATURE_NMS}"
    lines.append(f"precision to boxes/object are those at the {'calibrated thresholds' if calibrated else fixed}")
    return "\n".join(lines)


def _cell(value: float) -> str:
    return "-" if value == UNDEFINED else f"{value:.3f}"
