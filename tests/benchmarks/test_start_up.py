"""The time of a cold start beside a bare script."""

import re

import pytest

from benchmarks import start_up
from benchmarks._runs import RunError


@pytest.mark.slow
def test_both_commands_run_and_the_difference_is_theirs(capsys):
    assert start_up.main(["--repeats=1"]) == 0
    bare, detect, shown, difference = re.findall(r"\| (-?[\d.]+)", capsys.readouterr().out.split("---|---|")[1])
    assert float(bare) > 0.5
    assert 0 < float(shown) < float(detect)
    assert float(difference) == pytest.approx(float(detect) - float(bare), abs=0.011)


def test_a_command_that_fails_is_no_measurement():
    with pytest.raises(RunError, match="no module named nothing_at_all"):
        start_up._seconds([start_up.sys.executable, "-c", "raise SystemExit('no module named nothing_at_all')"])
