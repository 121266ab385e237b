"""What callbacks watch, checked before the first epoch is spent."""

from collections.abc import Sequence

from lightning.pytorch import Callback

from gdino_lightning.errors import ConfigError

_BETTER_HIGHER = ("map", "mar", "precision", "recall", "f1")  # how parts of a score's name begin
_BETTER_LOWER = ("loss", "false_positives", "duplicates", "ece")


def check_monitor(callback: Callback, known: Sequence[str]) -> None:
    """Refuse a monitor that is never logged, and one whose best is taken for its worst.

    Args:
        callback: Any callback; those that watch nothing pass.
        known: Names of everything that is logged.

    Raises:
        ConfigError: It cannot work.
    """
    monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
    if not isinstance(monitor, str):
        return
    name = type(callback).__name__
    if monitor not in known:
        raise ConfigError(f"{name}: monitor {monitor!r} is never logged; known: {', '.join(known)}")
    better = _better(monitor)
    if mode in ("min", "max") and better and mode != better:
        raise ConfigError(
            f"{name}: mode is {mode}, but a better {monitor} is {'higher' if mode == 'min' else 'lower'}; "
            f"set mode: {better}"
        )


def _better(monitor: str) -> str | None:
    """Whether more or less of a score is better; None where that is not known."""
    parts = monitor.split("/")[1:]
    if any(part.startswith(_BETTER_HIGHER) for part in parts[:2]):
        return "max"
    return "min" if any(part.startswith(_BETTER_LOWER) for part in parts[:2]) else None
