"""`gdino inspect`, as typed."""

import shutil
from pathlib import Path

import pytest

from gdino_lightning.cli import main


@pytest.fixture
def root(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def test_inspect_prints_what_it_finds_and_leaves_a_page_in_the_root(root, capsys):
    before = {path for path in root.rglob("*") if path.is_file()}
    assert main(["inspect", "--root", str(root)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"{root}: 24 pictures\n")
    assert printed.out.endswith(f"\npage: {root / 'inspect' / 'index.html'}\n")
    added = {path for path in root.rglob("*") if path.is_file()} - before
    assert {path.parent for path in added} == {root / "inspect"}


def test_what_it_finds_is_no_error(root, capsys):
    picture = next((root / "train" / "images").iterdir())
    shutil.copy(picture, root / "test" / "images" / "copy.png")
    picture.with_name("cut.png").write_bytes(picture.read_bytes()[:2000])
    assert main(["inspect", "--root", str(root), "--output", str(root.with_name("page"))]) == 0
    printed = capsys.readouterr().out
    assert "warning    1 picture cannot be read and will stop training\n           train/images/cut.png: " in printed
    assert f"train/images/{picture.name} = test/images/copy.png" in printed
    assert (root.with_name("page") / "index.html").is_file()
    assert not (root / "inspect").exists()


def test_a_root_that_cannot_be_read_is_bad_input(tmp_path, capsys):
    assert main(["inspect", "--root", str(tmp_path / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gdino: {tmp_path / 'nowhere'}: has neither train/annotations.csv nor")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
