import errno
import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from killed import killed_before
from voc_factory import tree_digest, tree_times, write_files

from gdino_lightning.data.publish import MANIFEST, READY, STALE, Content, finish_preparation, publish
from gdino_lightning.errors import DatasetError

OLD = {"train/images/a.png": b"A", "train/annotations.csv": b"a", "test/annotations.csv": b"t"}
NEW = {
    "train/images/b.png": b"B",
    "test/images/a.png": b"A",
    "train/annotations.csv": b"b",
    "test/annotations.csv": b"t",
}

CAPTIONS = {"train/captions.jsonl": b"one", "test/captions.jsonl": b"other"}


def fill(root: Path, files: dict[str, bytes]) -> int:
    tables = {name: data for name, data in files.items() if name.endswith(".csv")}
    wanted = {
        name: Content(hashlib.sha256(data).hexdigest(), partial(bytes, data))
        for name, data in files.items()
        if name not in tables
    }
    return publish(root, wanted, tables, {"files_in": len(files)}, progress=False)


def held(root: Path) -> dict[str, bytes]:
    """What a reader of the two folders sees."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("train", "test")
        for path in (root / folder).rglob("[!.]*")
        if path.is_file()
    }


def test_a_folder_is_filled_and_described(tmp_path):
    assert fill(tmp_path / "new" / "root", OLD) == 3
    root = tmp_path / "new" / "root"
    assert set(tree_digest(root)) == {*OLD, MANIFEST}
    assert (root / "train/images/a.png").read_bytes() == b"A"
    manifest = json.loads((root / MANIFEST).read_text())
    assert manifest["files_in"] == 3
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in OLD.items()}


def test_a_second_time_nothing_is_touched(tmp_path):
    fill(tmp_path, OLD)
    before = tree_times(tmp_path)
    assert fill(tmp_path, OLD) == 0
    assert tree_times(tmp_path) == before


def test_only_what_differs_is_written_and_what_is_stale_removed(tmp_path):
    fill(tmp_path, OLD)
    before = tree_times(tmp_path)
    assert fill(tmp_path, NEW) == 4  # two pictures and a table written, one picture removed
    assert held(tmp_path) == NEW
    assert tree_times(tmp_path)["test/annotations.csv"] == before["test/annotations.csv"]


def test_a_damaged_or_missing_file_is_made_again(tmp_path):
    fill(tmp_path, OLD)
    before = tree_digest(tmp_path)
    (tmp_path / "train/images/a.png").write_bytes(b"damaged")
    (tmp_path / "test/annotations.csv").unlink()
    assert fill(tmp_path, OLD) == 2
    assert tree_digest(tmp_path) == before


@pytest.mark.parametrize("then", [OLD, NEW], ids=["the old state again", "the new state again"])
def test_a_kill_before_any_step_leaves_the_old_state_or_the_new_one(tmp_path, then):
    whole = tmp_path / "whole"
    fill(whole, OLD)
    write_files(whole, CAPTIONS)
    old = held(whole)
    fill(whole, NEW)
    new = held(whole)
    fill(whole, then)
    seen = []
    for step in range(100):
        root = tmp_path / str(step)
        fill(root, OLD)
        write_files(root, CAPTIONS)
        if not killed_before(step, partial(fill, root, NEW)):
            break
        finish_preparation(root)
        seen.append(held(root))
        fill(root, then)
        assert tree_digest(root) == tree_digest(whole)
    decided = seen.index(new)
    assert 10 < decided < len(seen) - 5
    assert seen == [old] * decided + [new] * (len(seen) - decided)


def test_a_kill_while_another_finishes_leaves_the_new_state(tmp_path):
    undecided = tmp_path / "undecided"
    fill(undecided, OLD)
    steps = 0
    while not (undecided / READY).exists():
        assert killed_before(steps, partial(fill, undecided, NEW))
        steps += 1
    for step in range(100):
        root = tmp_path / str(step)
        shutil.copytree(undecided, root)
        if not killed_before(step, partial(finish_preparation, root)):
            break
        finish_preparation(root)
        assert held(root) == NEW
    assert step > 5


def test_an_error_leaves_the_old_state_and_nothing_beside_it(tmp_path):
    fill(tmp_path, OLD)
    before = tree_digest(tmp_path)
    with pytest.raises(DatasetError, match="changed in the source while it was read"):
        publish(
            tmp_path, {"train/b.png": Content("0" * 64, lambda: b"other")}, {"train/a.csv": b""}, {}, progress=False
        )
    assert tree_digest(tmp_path) == before


@pytest.mark.parametrize("name", ["../outside.txt", "train/../../outside.txt", "{root}/outside.txt"])
def test_what_lies_ready_removes_nothing_outside(tmp_path, name):
    root = tmp_path / "root"
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"mine")
    write_files(root, {f"{READY}/{STALE}": json.dumps({"files": [name.format(root=tmp_path)]}).encode()})
    with pytest.raises(DatasetError, match=rf"{STALE}: names files outside of its folder; remove .*{READY}"):
        finish_preparation(root)
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["train/images/mine.png", "train/annotations.csv"])
def test_files_of_others_are_left_alone_and_stop_the_run(tmp_path, name):
    write_files(tmp_path, {name: b"mine"})
    with pytest.raises(DatasetError, match=rf"{name}: not made by prepare .* choose another --root"):
        fill(tmp_path, OLD)
    assert held(tmp_path) == {name: b"mine"}
    assert set(tree_digest(tmp_path)) == {name}


def test_equal_files_without_a_manifest_are_taken_over(tmp_path):
    write_files(tmp_path, OLD)
    assert fill(tmp_path, OLD) == 0
    assert (tmp_path / MANIFEST).exists()


def test_files_beside_the_folders_and_dot_files_are_none_of_its_business(tmp_path):
    write_files(tmp_path, {"notes.txt": b"mine", "train/.DS_Store": b"x"})
    fill(tmp_path, OLD)
    assert fill(tmp_path, OLD) == 0
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("when", ["before the first run", "after it"])
def test_captions_of_users_are_no_obstacle_and_stay_as_they_are(tmp_path, when):
    if when == "after it":
        fill(tmp_path, OLD)
    write_files(tmp_path, CAPTIONS)
    written = {name: time for name, time in tree_times(tmp_path).items() if name in CAPTIONS}
    fill(tmp_path, OLD)
    before = tree_times(tmp_path)
    assert fill(tmp_path, OLD) == 0
    assert tree_times(tmp_path) == before
    assert fill(tmp_path, NEW) == 4  # as without captions
    assert held(tmp_path) == {**NEW, **CAPTIONS}
    assert {name: time for name, time in tree_times(tmp_path).items() if name in CAPTIONS} == written
    assert json.loads((tmp_path / MANIFEST).read_text())["files"].keys() == NEW.keys()


@pytest.mark.parametrize("name", ["train/images/captions.jsonl", "train/captions.json"])
def test_only_the_file_beside_a_table_counts_as_captions(tmp_path, name):
    write_files(tmp_path, {name: b"mine"})
    with pytest.raises(DatasetError, match=rf"{name}: not made by prepare"):
        fill(tmp_path, OLD)
    assert (tmp_path / name).read_bytes() == b"mine"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 3}', "\xff"])
def test_a_manifest_of_something_else_stops_the_run(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"prepare\.json: damaged, or not made by prepare"):
        fill(tmp_path, OLD)


def test_a_root_that_cannot_be_written_names_path_and_remedy(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file.*cannot be written .* choose another --root"):
        fill(tmp_path / "file" / "root", OLD)


def test_a_full_disk_stays_an_os_error_with_path_and_bytes(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"no space for 1 bytes: .*train/images/a\.png") as raised:
        fill(tmp_path, OLD)
    assert raised.value.errno == errno.ENOSPC
    assert tree_digest(tmp_path) == {}
