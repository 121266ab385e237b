import errno
import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
from voc_factory import tree_digest, tree_times, write_files

from gdino_lightning.data.publish import JOURNAL, MANIFEST, Content, publish
from gdino_lightning.errors import DatasetError

OLD = {"train/images/a.png": b"A", "train/annotations.csv": b"a", "test/annotations.csv": b"t"}
NEW = {
    "train/images/b.png": b"B",
    "test/images/a.png": b"A",
    "train/annotations.csv": b"b",
    "test/annotations.csv": b"t",
}


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
    assert fill(tmp_path, NEW) == 5  # two pictures and both tables written, one picture removed
    assert held(tmp_path) == NEW


def test_a_damaged_or_missing_file_is_made_again(tmp_path):
    fill(tmp_path, OLD)
    before = tree_digest(tmp_path)
    (tmp_path / "train/images/a.png").write_bytes(b"damaged")
    (tmp_path / "test/annotations.csv").unlink()
    assert fill(tmp_path, OLD) == 3  # the picture, and the tables that vouch for it
    assert tree_digest(tmp_path) == before


@pytest.mark.parametrize("then", [OLD, NEW], ids=["same again", "something else"])
def test_a_stop_at_any_moment_is_mended_by_the_next_run(tmp_path, monkeypatch, then):
    fill(tmp_path / "fresh", then)
    stops = 0
    for moment in range(100):
        root = tmp_path / str(moment)
        fill(root, NEW)
        if not _stop_at(moment, root, OLD, monkeypatch):
            break
        stops += 1
        seen = held(root)
        if "train/annotations.csv" in seen and "test/annotations.csv" in seen:
            assert seen in (OLD, NEW)
        fill(root, then)
        assert tree_digest(root) == tree_digest(tmp_path / "fresh")
    assert stops > 8


def _stop_at(moment: int, root: Path, files: dict[str, bytes], monkeypatch) -> bool:
    """Fill `root`, stopping before rename or removal number `moment`; False where it came to its end."""
    done = 0

    def counted(original):
        def run(*arguments, **options):
            nonlocal done
            if done == moment:
                raise KeyboardInterrupt
            done += 1
            return original(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        try:
            fill(root, files)
        except KeyboardInterrupt:
            return True
    return False


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


CAPTIONS = {"train/captions.jsonl": b"one", "test/captions.jsonl": b"other"}


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
    assert fill(tmp_path, NEW) == 5  # as without captions
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


def test_content_that_changed_meanwhile_stops_the_run(tmp_path):
    wanted = {"train/a.png": Content("0" * 64, lambda: b"other")}
    with pytest.raises(DatasetError, match="changed in the source while it was read"):
        publish(tmp_path, wanted, {"train/a.csv": b""}, {}, progress=False)
    assert not (tmp_path / MANIFEST).exists()


def test_a_root_that_cannot_be_written_names_path_and_remedy(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file.*cannot be written .* choose another --root"):
        fill(tmp_path / "file" / "root", OLD)


def test_a_full_disk_stays_an_os_error_with_path_and_bytes(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"no space for [0-9,]+ bytes: .*" + JOURNAL) as raised:
        fill(tmp_path, OLD)
    assert raised.value.errno == errno.ENOSPC
    assert tree_digest(tmp_path) == {}
