"""One process at a time writes in a folder; what a killed one leaves stops nobody."""

import errno
import fcntl
import logging
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from held_folders import FORK, held_elsewhere, is_free

from gdino_lightning import lock
from gdino_lightning.errors import ConfigError
from gdino_lightning.lock import LOCK_NAME, hold


def test_a_held_folder_is_refused_with_its_holder_and_the_remedy(tmp_path):
    with held_elsewhere(tmp_path / "data") as (holder, _):
        with pytest.raises(ConfigError) as refused, hold(tmp_path / "data", "come back later"):
            pass
        assert str(refused.value) == (
            f"{tmp_path / 'data'}: in use by process {holder} on {socket.gethostname()}; come back later"
        )
        assert (tmp_path / "data" / LOCK_NAME).exists()  # still the holder's


def test_a_killed_holder_leaves_no_lock_even_while_its_workers_live(tmp_path):
    with held_elsewhere(tmp_path) as (holder, child):
        os.kill(holder, signal.SIGKILL)
        os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT)
        os.kill(child, 0)  # there still
        assert (tmp_path / LOCK_NAME).exists()
        with hold(tmp_path, "wait"):
            assert f"process {os.getpid()} on" in (tmp_path / LOCK_NAME).read_text()
    assert list(tmp_path.iterdir()) == []


def test_folders_are_held_until_the_end_and_one_by_one(tmp_path):
    def hold_a() -> None:
        with hold(tmp_path / "a", "wait"):
            assert not is_free(tmp_path / "a")
            assert is_free(tmp_path / "b")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold_a()
    assert is_free(tmp_path / "a")


def test_a_lock_file_that_its_holder_removes_meanwhile_is_not_taken_for_the_folder(tmp_path, monkeypatch):
    take, seen = lock._lock, []

    def lock_late(file, *how):
        if not seen:
            (tmp_path / LOCK_NAME).unlink()  # what a holder does at its end
        seen.append(file)
        take(file, *how)

    monkeypatch.setattr(lock, "_lock", lock_late)
    with hold(tmp_path, "wait"):
        assert len(seen) == 2
        assert not is_free(tmp_path)


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", fail)
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "propagate", True)  # `main` switches it off
    with hold(tmp_path, "wait"), hold(tmp_path, "wait"):
        pass
    assert f"{tmp_path}: cannot be locked" in caplog.text


def test_a_folder_held_here_already_is_held_on_until_the_outer_end(tmp_path):
    with hold(tmp_path, "wait"):
        with hold(tmp_path / "x" / "..", "wait"):
            pass
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_one_that_waits_goes_on_when_the_holder_ends_and_says_for_whom_it_waits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("gdino_lightning"), "propagate", True)
    caplog.set_level(logging.INFO)
    with held_elsewhere(tmp_path) as (holder, _):
        ender = FORK.Process(target=_kill_later, args=(holder,))
        ender.start()
        with hold(tmp_path, "", wait=True):
            assert not is_free(tmp_path)
        ender.join()
    assert f"{tmp_path}: in use by process {holder} on {socket.gethostname()}; waiting for it" in caplog.text


def _kill_later(process: int) -> None:
    time.sleep(0.5)
    os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("kept", [False, True])
def test_folders_made_for_the_lock_are_gone_again_unless_something_lies_in_them(tmp_path, kept):
    with hold(tmp_path / "a" / "b", "wait"):
        if kept:
            (tmp_path / "a" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == (["a", "file"] if kept else [])


def test_a_folder_that_vanishes_before_the_lock_is_made_anew(tmp_path, monkeypatch):
    open_file, seen = Path.open, []

    def open_late(path, *mode, **options):
        if not seen:
            seen.append(path)
            path.parent.rmdir()  # what a holder does at its end
        return open_file(path, *mode, **options)

    monkeypatch.setattr(Path, "open", open_late)
    with hold(tmp_path / "a", "wait"):
        assert not is_free(tmp_path / "a")


def test_a_full_disk_lets_a_folder_be_held_without_a_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with hold(tmp_path, "wait"):
        assert not is_free(tmp_path)
