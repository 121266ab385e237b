"""Parsers whose errors are one line, like every other error of the program."""

import argparse
from typing import NoReturn

from gdino_lightning.errors import ConfigError


class OneLineErrors:
    """Mixed into a parser: its errors are raised for `main` to print, without a usage text around them."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what a parser would print before it exits.

        Raises:
            ConfigError: Always.
        """
        program = " ".join(self.prog.split()[:2])  # "gdino fit", also of the subcommand "gdino fit [options] fit"
        raise ConfigError(f"{' '.join(message.split())}; `{program} --help` lists what can be given") from ex


class LineParser(OneLineErrors, argparse.ArgumentParser):
    """argparse with errors in one line."""
