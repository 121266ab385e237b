import errno
import os
import stat
from pathlib import Path

import pytest

from gdino_lightning.errors import DatasetError
from gdino_lightning.files import part_of, refuse_unwritable, replacing, write_atomic


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_made_with_its_folders_and_replaced(tmp_path, sync):
    path = tmp_path / "new" / "folder" / "a.txt"
    for data in (b"first, and longer", b"second", b""):
        write_atomic(path, data, sync=sync)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "write_bytes"), (os, "fsync"), (Path, "replace")], ids=["write", "sync", "move"]
)
@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()], ids=["failed", "stopped"])
def test_a_stop_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, owner, name, error):
    def fail(*_):
        raise error

    write_atomic(tmp_path / "a.txt", b"old")
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(type(error)):
        write_atomic(tmp_path / "a.txt", b"new", sync=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_the_old_file_stays_visible_while_the_new_one_is_written(tmp_path, monkeypatch):
    seen = []
    write_bytes = Path.write_bytes

    def look(path, data):
        written = write_bytes(path, data)
        seen.append({each.name: each.read_bytes() for each in tmp_path.iterdir()})
        return written

    write_atomic(tmp_path / "a.txt", b"old")
    monkeypatch.setattr(Path, "write_bytes", look)
    write_atomic(tmp_path / "a.txt", b"new")
    assert seen == [{"a.txt": b"old", part_of(tmp_path / "a.txt").name: b"new"}]


def test_the_leftover_of_a_killed_process_is_replaced(tmp_path):
    part_of(tmp_path / "a.txt").write_bytes(b"half a fi")
    write_atomic(tmp_path / "a.txt", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"new"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_os_error_with_path_and_bytes(tmp_path, monkeypatch, code):
    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space for 1,234 bytes") as raised, refuse_unwritable(tmp_path):
        write_atomic(tmp_path / "a.txt", bytes(1234))
    assert (raised.value.errno, raised.value.filename) == (code, str(tmp_path / "a.txt"))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_name_the_folder_and_the_remedy(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    remedy = r"/file.*: cannot be written \(.+\); choose another --root"
    with pytest.raises(DatasetError, match=remedy), refuse_unwritable(tmp_path):
        write_atomic(tmp_path / "file" / "a.txt", b"")
    with pytest.raises(DatasetError, match=f"{tmp_path}: cannot be written"), refuse_unwritable(tmp_path):
        raise OSError("without a name")


def test_a_name_is_yielded_and_its_file_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with replacing(path, sync=True) as part:
        assert (part, list(path.parent.iterdir())) == (part_of(path), [])
        part.write_bytes(b"new")
        assert not path.exists()
    assert (path.read_bytes(), list(path.parent.iterdir())) == (b"new", [path])


def test_a_disk_that_does_not_sync_folders_is_no_error_others_are(tmp_path, monkeypatch):
    def refuse(code):
        def fail(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(code, os.strerror(code))

        return fail

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    write_atomic(tmp_path / "a.txt", b"new", sync=True)
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_atomic(tmp_path / "a.txt", b"newer", sync=True)


def test_what_a_killed_process_left_is_not_written_through(tmp_path):
    (tmp_path / "kept.txt").write_bytes(b"kept")
    os.link(tmp_path / "kept.txt", part_of(tmp_path / "a.txt"))
    write_atomic(tmp_path / "a.txt", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"new", "kept.txt": b"kept"}
