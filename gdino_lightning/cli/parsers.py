"""Parsers whose errors are one line, like every other error of the program."""

import argparse
import difflib
import re
from typing import NoReturn

from gdino_lightning.errors import ConfigError

_LONGEST = 1_000  # characters of a message
# how argparse names an option that is none, and how jsonargparse names one of a file
_UNKNOWN = re.compile(r"unrecognized arguments: --([\w.]+)|does not accept option '([\w.]+)'")


class OneLineErrors:
    """Mixed into a parser: its errors are raised for `main` to print, without a usage text around them."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what a parser would print before it exits.

        Raises:
            ConfigError: Always.
        """
        program = " ".join(self.prog.split()[:2])  # "gdino fit", also of the subcommand "gdino fit [options] fit"
        meant = self._nearest_option(message)
        fix = f"did you mean --{meant}? " if meant else ""
        raise ConfigError(f"{_shortened(message)}; {fix}`{program} --help` lists what can be given") from ex

    def _nearest_option(self, message: str) -> str | None:
        """The option that was meant where a message says that one is unknown."""
        unknown = _UNKNOWN.search(message)
        if not unknown or not isinstance(self, argparse.ArgumentParser):
            return None
        actions = list(self._actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                actions += [each for parser in action.choices.values() for each in parser._actions]
        options = {option.removeprefix("--") for action in actions for option in action.option_strings}
        return next(iter(difflib.get_close_matches(unknown[1] or unknown[2], sorted(options), 1, cutoff=0.75)), None)


def _shortened(message: str) -> str:
    """Fold a message into a line: jsonargparse lists every type that a value is not; key and value are at its ends."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


class LineParser(OneLineErrors, argparse.ArgumentParser):
    """argparse with errors in one line."""
