"""What a row of the table is made of, and the ways in which it is run: always the program, as a user types it."""

import csv
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from voc_factory import dataset_files, tree_digest, write_files

from gdino_lightning.cli import BAD_INPUT, main

DATASET_PICTURES, DATASET_BOXES = 6, 5  # of `dataset`, the negative among the pictures
PREPARE = ("prepare", "--source", "data", "--root", "out", "--num_train", "3")
INSPECT = ("inspect", "--root", "out", "--output", "page")
FIT = (
    "fit",
    "--model.weights=nano-random",
    "--model.phrases=[cat]",
    "--data.root=out",
    "--data.num_workers=0",
    "--data.short_side=32",
    "--data.long_side_max=32",
    "--data.canvas_multiple=32",
    "--data.batch_size=2",
    "--data.val=test",
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_checkpointing=false",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
)


@dataclass(frozen=True)
class Refused:
    """One line (for a dataset: one for each problem, under a heading) and exit code 2; nothing is written.

    Attributes:
        says: Regular expression of the line: file, line or row, object, what is wrong and the fix.
        skipped: For bad records: what `--on_bad skip` counts.
        pictures: How many pictures are left then.
        boxes: How many boxes are left then.
        code: Exit code.
    """

    says: str
    skipped: str = ""
    pictures: int = DATASET_PICTURES - 1
    boxes: int = DATASET_BOXES - 1
    code: int = BAD_INPUT

    def hold(self, command: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
        before = tree_digest(Path())
        assert main(command) == self.code
        printed = capfd.readouterr().err
        assert "Traceback" not in printed, printed
        (start,) = (place for place in re.finditer(r"^gdino: ", printed, re.MULTILINE))
        message = printed[start.end() :]
        assert re.search(self.says, message, re.MULTILINE), message
        heading = re.match(r"\S+: (\d+) problems?(, nothing was written)?\n", message)
        expected = min(int(heading[1]), 51) + 1 + bool(heading[2]) if heading else 1  # heading and fix are lines, too
        assert message.count("\n") == expected, message
        assert tree_digest(Path()) == before
        if self.skipped:
            handled = Handled(f"skipped {{4}}{self.skipped}", pictures=self.pictures, boxes=self.boxes)
            handled.hold((*command, "--on_bad", "skip"), capfd)


@dataclass(frozen=True)
class Handled:
    """Exit code 0, told on the screen.

    Attributes:
        prints: Regular expression of what is printed.
        pictures: How many pictures `out` holds afterwards.
        boxes: How many boxes its tables hold.
        also: Checks what else must be true in the current folder.
    """

    prints: str
    pictures: int = DATASET_PICTURES
    boxes: int = DATASET_BOXES
    also: Callable[[], None] = lambda: None

    def hold(self, command: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
        assert main(command) == 0
        printed = "".join(capfd.readouterr())
        assert "Traceback" not in printed
        assert re.search(self.prints, printed, re.MULTILINE), printed
        assert len([*Path("out").glob("*/images/*")]) == self.pictures
        assert sum(_num_rows(table) for table in Path("out").glob("*/annotations.csv")) == self.boxes
        self.also()


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        code: Row of the catalogue.
        says: The case in a line.
        make: Makes the input in the current folder.
        outcome: What the user should see.
        command: What is typed.
        around: What surrounds the command: a full disk, a variable of the environment.
    """

    code: str
    says: str
    make: Callable[[], object]
    outcome: Refused | Handled
    command: tuple[str, ...] = PREPARE
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def dataset(changes: dict[str, bytes | None] | None = None, root: str = "data") -> Path:
    """Write a source of six pictures of 40x30 px, five of them with a box, after changing or removing some files."""
    files = dataset_files(DATASET_PICTURES) | (changes or {})
    return write_files(Path(root), {name: data for name, data in files.items() if data is not None})


def _num_rows(table: Path) -> int:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return sum(any(row) for row in csv.reader(file)) - 1
