import os
from pathlib import Path

import pytest

from gdino_lightning.errors import DatasetError
from gdino_lightning.inference.sources import find_sources


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    for name in ("b.JPG", "a.png", "deep/er/a.png", "clip.mp4", "notes.md", ".hidden.png", ".cache/c.png", "out/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(text: str, **options) -> list[str]:
    return [source.name for source in find_sources(text, **options)]


def test_a_folder_is_searched_deep_but_not_where_results_go(tree):
    assert names(".", leave_out=Path("out")) == ["a.png", "b.JPG", "clip.mp4", "deep__er__a.png"]
    assert names(str(tree)) == ["a.png", "b.JPG", "clip.mp4", "deep__er__a.png", "out__d.png"]


def test_one_file_is_itself_and_a_video_is_told_by_its_suffix(tree):
    assert [(each.name, each.is_video) for each in find_sources("deep/er/a.png")] == [("a.png", False)]
    assert [(each.name, each.is_video) for each in find_sources("clip.mp4")] == [("clip.mp4", True)]


def test_a_pattern_finds_what_it_fits(tree):
    assert names("**/*.png") == ["a.png", "deep__er__a.png", "out__d.png"]
    assert names("**/*.png", leave_out=Path("out")) == ["a.png", "deep__er__a.png"]
    assert names(f"{tree}/deep/*/*") == ["a.png"]


def test_a_list_is_read_from_where_it_lies_and_may_name_what_is_not_there(tree):
    (tree / "deep" / "list.txt").write_text(f"../a.png\n\n{tree}/b.JPG\ner/a.png\ngone.png\n../a.png\n")
    found = find_sources("deep/list.txt")
    assert len(found) == len({each.name for each in found}) == 4
    assert sorted(each.path.resolve().name for each in found) == ["a.png", "a.png", "b.JPG", "gone.png"]
    assert all(os.sep not in each.name for each in found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gone", "gone: no such file or folder"),
        ("notes.md", r"notes\.md: unknown extension '\.md'; give a picture"),
        ("empty", "empty: no picture and no video in it"),
        ("*.gif", r"\*\.gif: no picture and no video fits the pattern"),
        ("empty.txt", r"empty\.txt: no line names a file"),
        ("binary.txt", "UTF-8"),
    ],
)
def test_sources_without_a_picture_are_named(tree, text, says):
    (tree / "empty").mkdir()
    (tree / "empty.txt").write_text("\n")
    (tree / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=says):
        find_sources(text)


def test_two_files_of_one_name_are_refused(tree):
    (tree / "deep__er__a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"all would be called deep__er__a\.png"):
        find_sources(".")
