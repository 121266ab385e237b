"""metrics.csv: every logged number of a run in one wide table that resuming and testing only add to."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gdino_lightning.errors import CheckpointError, reason_of
from gdino_lightning.files import write_atomic

Row = dict[str, str]


class MetricsCSVLogger(Logger):
    """Writes <save_dir>/metrics.csv; Lightning's own CSV logger deletes the file on resume and on test.

    A row holds all that was logged one after another for one step; a value that the row has already starts a
    new one. Rows are on the disk as soon as they are logged. For a new column the table is written anew
    beside the file and takes its place, so a reader or a crash sees the old table or the new one. Numbers are
    printed so that they read back equal. Only the first process writes.

    Args:
        save_dir: folder of the run.
        once: do not write again what an earlier process logged the same to the last digit: a resumed run repeats the
            steps between its checkpoint and the kill.
    """

    def __init__(self, save_dir: str | Path, *, once: bool = False) -> None:
        super().__init__()
        self._save_dir = Path(save_dir)
        self._once = once
        self._columns: list[str] = []
        self._rows: list[Row] = []
        self._last_row_at = 0  # byte where the last row begins
        self._before: list[Row] | None = None  # rows not to repeat; None before the first log call
        self._goes_on = False  # the last of them is logged again
        self._is_ours = False  # False before the first row is written: what is on the disk is kept as it is

    @property
    def path(self) -> Path:
        """The file."""
        return self._save_dir / "metrics.csv"

    @property
    def save_dir(self) -> str:
        """The folder of the run."""
        return str(self._save_dir)

    @property
    def name(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Empty: a run has one table."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: settings are in the run's config.yaml and in its checkpoints."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Add numbers to the row of `step`, and write it.

        Args:
            metrics: numbers or tensors of one element by name; `epoch` is a column like any other.
            step: optimizer steps so far; like the epoch a whole number, of whatever type.
        """
        row = {"step": "" if step is None else str(int(step))}
        row |= {key: str(int(value)) if key == "epoch" else _text(value) for key, value in metrics.items()}
        if self._before is None:
            self._columns, self._rows = read_metrics(self.path)
            self._before = list(self._rows) if self._once else []
        if (known := next((each for each in self._before if row.items() <= each.items()), None)) is not None:
            self._goes_on = known is self._rows[-1]  # a kill may have come before the whole of it was there
            return
        if not self._is_ours and not (self._goes_on and self._fits_last(row)):
            self._rows.append(row)
        elif self._fits_last(row):
            self._rows[-1] |= row
        else:
            self._last_row_at = self.path.stat().st_size
            self._rows.append(row)
        self._write(new_columns=[key for key in dict.fromkeys(("epoch", *row)) if key not in self._columns])

    def _fits_last(self, row: Row) -> bool:
        last = self._rows[-1]
        return last["step"] == row["step"] and all(last.get(key, value) == value for key, value in row.items())

    def _write(self, new_columns: list[str]) -> None:
        self._columns += new_columns
        if new_columns or not self._is_ours:
            self._rewrite()
            return
        with self.path.open("r+b") as file:
            # a row that is merged only gets longer, so it covers what was written of it before
            file.seek(self._last_row_at)
            file.write(self._line(self._rows[-1]))

    def _rewrite(self) -> None:
        header = dict(zip(self._columns, self._columns, strict=True))
        before = b"".join(self._line(row) for row in (header, *self._rows[:-1]))
        write_atomic(self.path, before + self._line(self._rows[-1]), sync=True)
        self._last_row_at = len(before)
        self._is_ours = True

    def _line(self, row: Row) -> bytes:
        line = io.StringIO(newline="")
        csv.DictWriter(line, self._columns, restval="", lineterminator="\n").writerow(row)
        return line.getvalue().encode()


def read_metrics(path: Path) -> tuple[list[str], list[Row]]:
    """Read the columns of a metrics.csv and its rows without their empty cells; nothing without a file.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not path.exists():
        return [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            columns = list(reader.fieldnames or [])
            return columns, [{key: row[key] for key in columns if row[key]} for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: damaged ({reason_of(error)}); move it away, and the run starts a new one"
        ) from error


def _text(value: float | Tensor) -> str:
    number = value.item() if isinstance(value, Tensor) else value
    return str(number) if isinstance(number, int) else repr(float(number))
