"""What the run that weights come from says about them, for the model card."""

from pathlib import Path
from typing import TYPE_CHECKING

from gdino_lightning.cli.run_config import read_run_config
from gdino_lightning.cli.runs import CHECKPOINTS, CONFIG_NAME, resolve_checkpoint, run_of
from gdino_lightning.errors import CheckpointError, reason_of

if TYPE_CHECKING:
    from gdino_lightning.model.card import CardFacts

_METRICS = ("val/map", "val/map_50", "val/map_75")


def facts_of(weights: str, license_id: str | None = None) -> "CardFacts":
    """Return what is known of weights beside themselves.

    Args:
        weights: As given to `--weights`. All but the size and reading is told by a run folder, or a checkpoint in one.
        license_id: SPDX identifier that the user gives them.
    """
    from gdino_lightning.inference.saved import saved_evaluation
    from gdino_lightning.model.card import CardFacts

    evaluation = saved_evaluation(weights)  # or the exported folder would be asked in another way than these weights
    checkpoint = _checkpoint(Path(weights))
    run = None if checkpoint is None else run_of(checkpoint)
    if checkpoint is None or run is None:
        return CardFacts(license=license_id, evaluation=evaluation)
    config = read_run_config(run / CONFIG_NAME)
    dataset = Path(config["data"].get("root") or run).name
    metrics = _metrics(run, checkpoint)
    return CardFacts(
        base=config["model"].get("weights"),
        license=license_id,
        data=dataset,
        metrics=metrics,
        scored_on=f"validation part of {dataset}" if metrics else None,
        evaluation=evaluation,
    )


def _checkpoint(weights: Path) -> Path | None:
    best = weights / CHECKPOINTS / "best.ckpt"
    if best.is_file():
        return resolve_checkpoint(str(best))
    return resolve_checkpoint(str(weights)) if weights.suffix == ".ckpt" and weights.is_file() else None


def _metrics(run: Path, checkpoint: Path) -> dict[str, float]:
    """Return what the validation of the checkpoint's epoch gave."""
    from gdino_lightning.model.pretrained import read_checkpoint
    from gdino_lightning.training.metrics_csv import read_metrics

    table = run / "metrics.csv"
    epoch = str(read_checkpoint(checkpoint).get("epoch"))
    rows = [row for row in read_metrics(table)[1] if row.get("epoch") == epoch and row.get(_METRICS[0])]
    try:
        return {name: float(rows[-1][name]) for name in _METRICS if rows and rows[-1].get(name)}
    except ValueError as error:
        raise CheckpointError(f"{table}: damaged ({reason_of(error)}); move it away") from error
