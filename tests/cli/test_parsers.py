import argparse
import re

import pytest

from gdino_lightning.cli.parsers import OneLineErrors
from gdino_lightning.errors import ConfigError


class Parser(OneLineErrors, argparse.ArgumentParser):
    pass


def test_an_error_is_raised_in_one_line_with_the_way_to_help(capsys):
    with pytest.raises(ConfigError) as caught:
        Parser("gdino prepare").error("two\n  lines")
    assert str(caught.value) == "two lines; `gdino prepare --help` lists what can be given"
    assert capsys.readouterr().err == ""


def test_a_subcommand_is_called_by_what_the_user_types():
    with pytest.raises(ConfigError, match="`gdino fit --help`"):
        Parser("gdino fit [options] fit").parse_args(["--what"])


def test_a_long_message_keeps_its_ends():
    with pytest.raises(ConfigError) as caught:
        Parser("gdino fit").error('key "a.b": ' + "no such type " * 500 + "value: 3")
    assert re.match(r'key "a\.b": .* \.\.\. .*value: 3; `gdino fit', str(caught.value))
    assert len(str(caught.value)) < 1_100
