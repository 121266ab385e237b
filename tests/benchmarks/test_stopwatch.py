import subprocess
import sys
import time

import pytest

from benchmarks._process import Median, measured, table
from benchmarks._runs import RunError
from benchmarks._stopwatch import Stopwatch


class Worker:
    def outer(self) -> str:
        time.sleep(0.02)
        return self.inner("done")

    def inner(self, word: str) -> str:
        time.sleep(0.05)
        return word


def test_what_is_within_counts_for_the_inner_part_alone():
    worker, watch = Worker(), Stopwatch()
    watch.wrap(worker, "inner", "inner")
    watch.wrap(worker, "outer", "outer")
    assert worker.outer() == "done"
    assert 0.05 <= watch.seconds["inner"] < 1
    assert watch.seconds["outer"] >= 0.02
    before = watch.seconds["outer"]
    worker.inner("more")
    assert watch.seconds["inner"] >= 0.1
    assert watch.seconds["outer"] == before
    watch.clear()
    assert not watch.seconds


def test_a_part_that_fails_is_timed_and_leaves_nothing_open():
    watch = Stopwatch()
    with pytest.raises(ValueError, match="broken"), watch.part("a"):
        raise ValueError("broken")
    with watch.part("b"):
        time.sleep(0.01)
    assert watch.seconds["b"] >= 0.01


def test_a_median_is_told_with_its_spread():
    assert Median.of([3.0, 1.0, 2.0]) == Median(2.0, 1.0, 3.0)
    assert Median.of([1234.5, 1.0]).cell(1) == "617.8 (1.0 to 1,234.5)"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_peak_memory_grows_with_what_is_held():
    """In a process of its own: this one may have held more before."""
    code = "from benchmarks._process import peak_mb as mb; had = mb(); held = bytearray(3 * 10**8); print(mb() - had)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 250 <= float(done.stdout) <= 350


def test_a_process_that_fails_says_why():
    with pytest.raises(RunError, match=r"benchmarks\._scores .*: TypeError: .*unexpected keyword argument 'nothing'"):
        measured("benchmarks._scores", {"nothing": 1})
