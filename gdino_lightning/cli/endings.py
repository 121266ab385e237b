"""How a run that a signal ended says so: by which signal, what is lost, and how to go on."""

import signal
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gdino_lightning.cli import INTERRUPTED, TERMINATED
from gdino_lightning.signals import Terminated
from gdino_lightning.training.callbacks import EpochCheckpoints, GracefulStop


def signal_of(stop: SystemExit, trainer: Trainer | None) -> signal.Signals | None:
    """Return the signal that ended a run; None where it was something else."""
    if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes another exit of it
        return signal.SIGINT
    if isinstance(stop, Terminated):
        return signal.Signals[stop.name]
    if not isinstance(stop, SIGTERMException):
        return None
    asked = (each.asked for each in _callbacks(trainer) if isinstance(each, GracefulStop))
    return next(asked, None) or signal.SIGTERM  # another rank was asked


def exit_code(number: signal.Signals) -> int:
    """Return the exit code of a run that this signal ended."""
    return INTERRUPTED if number == signal.SIGINT else TERMINATED


def ending(number: signal.Signals, trainer: Trainer | None, program: str) -> str:
    """Say what ended a run and, for one that trains, what is lost and how to go on.

    Args:
        number: The signal.
        trainer: Of the run; None where it ended before there was one.
        program: What was typed, such as `gdino fit`.
    """
    said = "interrupted" if number == signal.SIGINT else f"terminated by {number.name}"
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return said
    kept = next((each for each in _callbacks(trainer) if isinstance(each, EpochCheckpoints)), None)
    if kept is None or kept.last_step is None:
        return f"{said} after {_steps(trainer.global_step)}; no epoch was finished, so there is nothing to resume"
    lost = trainer.global_step - kept.last_step
    last = Path(kept.dirpath or "") / "last.ckpt"
    return (
        f"{said} in epoch {trainer.current_epoch}, after {_steps(trainer.global_step)}, of which {lost or 'none'} "
        f"{'is' if lost == 1 else 'are'} lost; resume with: {program} --ckpt_path {last}"
    )


def _steps(number: int) -> str:
    return f"{number:,} step{'' if number == 1 else 's'}"


def _callbacks(trainer: Trainer | None) -> list[object]:
    return [] if trainer is None else list(trainer.callbacks)  # type: ignore[attr-defined]  # set by a connector
