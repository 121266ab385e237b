"""What a user can get wrong: every error names the file (and line), what is wrong, and the fix."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MOST_SHOWN = 50  # problems of a dataset
MOST_OF_A_REASON = 300  # characters of what a library says


class GdinoError(Exception):
    """Base of every error that bad input causes; the command line prints its text and exits with 2."""


class DatasetError(GdinoError):
    """An annotation, a picture, a table or a split cannot be used.

    Args:
        text: The message.
        problems: A line for each problem, where there are several; the message names the first ones.

    Attributes:
        problems: All of them; the message alone, where it is of one.
    """

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.problems = tuple(problems) or (text,)


class PromptError(GdinoError):
    """Class names, wordings or captions cannot be turned into a prompt."""


class CheckpointError(GdinoError):
    """Weights or checkpoints are missing, damaged or of another model."""


class ConfigError(GdinoError):
    """A setting contradicts another one or cannot be met."""


class Problems:
    """Collects what is wrong with a dataset, so that a user sees all of it at once.

    Args:
        where: What is read: a file or a folder.
    """

    def __init__(self, where: object) -> None:
        self._where = where
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Take note of a problem: a line that names file, line and fix."""
        self._texts.append(text)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take note of what the block cannot use, and go on behind it."""
        try:
            yield
        except DatasetError as error:
            self._texts += error.problems

    def __bool__(self) -> bool:
        """Tell whether there is a problem."""
        return bool(self._texts)

    def check(self) -> None:
        """Stop where there is a problem.

        Raises:
            DatasetError: There is one; several are listed under a heading.
        """
        if len(self._texts) == 1:
            raise DatasetError(self._texts[0])
        if self._texts:
            raise DatasetError(problem_list(f"{self._where}: {len(self._texts)} problems", self._texts), self._texts)


def problem_list(heading: str, problems: Sequence[str]) -> str:
    """List the first problems under a heading, a line each."""
    more = len(problems) - MOST_SHOWN
    shown = [heading, *(f"  {text}" for text in problems[:MOST_SHOWN])]
    return "\n".join([*shown, f"  ... and {more:,} more"] if more > 0 else shown)


def listed(names: Iterable[str], most: int = 12) -> str:
    """Name the first few of many for a message that is one line: `a, b and 3 more`."""
    known = list(names)
    more = len(known) - most
    return ", ".join(known) if more <= 0 else f"{', '.join(known[:most])} and {more:,} more"


def reason_of(error: BaseException) -> str:
    """Say in one short line what a library found wrong; its texts can be long and of many lines."""
    return shortened(str(error)) or type(error).__name__


def shortened(text: str) -> str:
    """Put a text into one line, escape halves of characters, and cut it where it is too long for a message."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= MOST_OF_A_REASON else f"{line[:MOST_OF_A_REASON]}..."
