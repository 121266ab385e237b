"""Finished runs that several files look at."""

import contextlib
import shutil

import pytest
from verb_runs import Done, fit_arguments, run_printed


@pytest.fixture(scope="session")
def fitted(drawn, tmp_path_factory) -> Done:
    """`fit` for two epochs, nothing else done to it."""
    home = tmp_path_factory.mktemp("fitted")
    with contextlib.chdir(home):
        printed = run_printed(*fit_arguments(drawn))
    return Done(home, home / "runs" / "sample", printed, "")


@pytest.fixture(scope="session")
def tested(fitted, tmp_path_factory) -> Done:
    """`test --ckpt_path best` in a copy of the run, without --config."""
    home = tmp_path_factory.mktemp("tested") / "home"
    shutil.copytree(fitted.home, home, symlinks=True)
    with contextlib.chdir(home):
        printed = run_printed("test", "--ckpt_path", "best")
    return Done(home, home / "runs" / "sample", fitted.fit_printed, printed)


@pytest.fixture
def copied(fitted, tmp_path, monkeypatch) -> Done:
    """A copy of the run to go on with; it is the current folder."""
    shutil.copytree(fitted.home, tmp_path / "home", symlinks=True)
    monkeypatch.chdir(tmp_path / "home")
    return Done(tmp_path / "home", tmp_path / "home" / "runs" / "sample", fitted.fit_printed, "")
