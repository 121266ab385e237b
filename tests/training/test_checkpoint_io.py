"""Checkpoints are whole or absent at every moment: kills, full disks, and where the bytes go meanwhile."""

import errno
import io
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path

import pytest
import torch
from full_disk import die, fail_within, no_space
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins import AsyncCheckpointIO, TorchCheckpointIO

from gdino_lightning.files import part_of
from gdino_lightning.training.checkpoint_io import WholeCheckpointIO, with_whole_checkpoints, write_checkpoint

FORK = multiprocessing.get_context("fork")


def content(value: float) -> dict[str, object]:
    """About 400 kB that are all of one value: a mixture of two would show."""
    return {"value": value, "state_dict": {f"w{i}": torch.full((10_000,), value) for i in range(10)}}


def value_of(path: Path) -> float:
    loaded = torch.load(path, weights_only=True)
    assert all(bool((each == loaded["value"]).all()) for each in loaded["state_dict"].values())
    return loaded["value"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_made_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    for value in (1.0, 2.0):
        WholeCheckpointIO().save_checkpoint(content(value), path)
        assert value_of(path) == WholeCheckpointIO().load_checkpoint(path)["value"] == value
    assert names(path.parent) == ["last.ckpt"]


@pytest.mark.parametrize("moment", ["half way", "before the sync", "before the move"])
def test_a_kill_leaves_the_old_file_and_the_next_write_takes_its_part(tmp_path, monkeypatch, moment):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, content(1))
    with monkeypatch.context() as patched:
        if moment == "half way":
            fail_within(patched, path, 200_000, die)
        elif moment == "before the sync":
            patched.setattr(os, "fsync", lambda _: die())
        else:
            patched.setattr(Path, "replace", lambda *_: die())
        child = FORK.Process(target=write_checkpoint, args=(path, content(2)))
        child.start()
        child.join()
    assert child.exitcode == -9
    assert value_of(path) == 1
    assert names(tmp_path) == [part_of(path).name, "last.ckpt"]
    write_checkpoint(path, content(3))
    assert value_of(path) == 3
    assert names(tmp_path) == ["last.ckpt"]


def _write_for_ever(path: Path) -> None:
    value = 2.0
    while True:
        write_checkpoint(path, content(value))
        value += 1


@pytest.mark.slow
def test_no_kill_at_a_random_moment_leaves_an_unreadable_file(tmp_path):
    path, draw, last = tmp_path / "last.ckpt", random.Random(0), 1.0
    write_checkpoint(path, content(last))
    half_written = 0
    for _ in range(100):
        child = FORK.Process(target=_write_for_ever, args=(path,))
        child.start()
        time.sleep(draw.uniform(0.005, 0.05))
        child.kill()
        child.join()
        value_of(path)
        half_written += part_of(path).exists()
    assert half_written > 10  # or the kills came at other times
    assert set(names(tmp_path)) <= {"last.ckpt", part_of(path).name}


def test_a_full_disk_leaves_the_old_file_alone_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, content(1))
    fail_within(monkeypatch, path, 200_000, no_space)
    with pytest.raises(OSError, match="no space") as raised:
        WholeCheckpointIO().save_checkpoint(content(2), path)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert value_of(path) == 1
    assert names(tmp_path) == ["last.ckpt"]


def test_other_failures_of_the_disk_name_the_file(tmp_path, monkeypatch):
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "last.ckpt"
    fail_within(monkeypatch, path, 200_000, fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
        write_checkpoint(path, content(1))
    assert (raised.value.errno, raised.value.filename) == (errno.EIO, str(path))
    assert names(tmp_path) == []


def test_what_torch_cannot_store_is_no_matter_of_the_disk(tmp_path):
    with pytest.raises(Exception, match=r"pickle|local object"):
        write_checkpoint(tmp_path / "last.ckpt", {"function": lambda: None})
    assert names(tmp_path) == []


def test_file_and_folder_are_on_the_disk_in_this_order(tmp_path, monkeypatch):
    done: list[str] = []
    sync, move = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def note_move(source: Path, target: Path) -> Path:
        done.append(f"move {source.name} {target.name}")
        return move(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_move)
    write_checkpoint(tmp_path / "last.ckpt", content(1))
    assert done == ["sync .last.ckpt.part", "move .last.ckpt.part last.ckpt", f"sync {tmp_path.name}"]


def test_no_temporary_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):  # Lightning's own way, so the setting counts
        TorchCheckpointIO().save_checkpoint(content(1), tmp_path / "theirs.ckpt")
    write_checkpoint(tmp_path / "ours.ckpt", content(1))
    assert value_of(tmp_path / "ours.ckpt") == 1


class Hostile:
    """Makes a folder when it is read as a pickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("asked", [None, False, True])
def test_nothing_in_a_checkpoint_is_run_whatever_is_asked_for(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"x": Hostile(tmp_path / "made")}, tmp_path / "a.ckpt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=asked)
    assert not (tmp_path / "made").exists()


def test_an_address_on_the_net_is_no_file(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("was fetched"))
    with pytest.raises(FileNotFoundError):
        WholeCheckpointIO().load_checkpoint("https://example.invalid/a.ckpt")


def test_storage_options_are_refused(tmp_path):
    with pytest.raises(TypeError, match="no storage options"):
        WholeCheckpointIO().save_checkpoint(content(1), tmp_path / "a.ckpt", storage_options={})


def test_a_writer_of_the_user_stays_and_other_plugins_too():
    theirs, other = AsyncCheckpointIO(), object()
    assert with_whole_checkpoints([other, theirs]) == [other, theirs]
    assert with_whole_checkpoints(theirs) == [theirs]
    for given, kept in ((None, []), (other, [other]), ([other], [other])):
        *rest, ours = with_whole_checkpoints(given)
        assert rest == kept
        assert isinstance(ours, WholeCheckpointIO)


def test_a_trainer_saves_through_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    settings = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = Trainer(plugins=with_whole_checkpoints(None), **settings)
    module = LightningModule()
    module.layer = torch.nn.Linear(1, 1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    with io.BytesIO((tmp_path / "a.ckpt").read_bytes()) as file:
        saved = torch.load(file, weights_only=True)["state_dict"]
    assert torch.equal(saved["layer.weight"], module.layer.weight)
