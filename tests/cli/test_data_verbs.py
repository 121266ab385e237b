"""`gdino sample` and `gdino prepare`, as typed."""

import hashlib
from pathlib import Path

import pytest

from gdino_lightning.cli import main
from gdino_lightning.data.fields import COLUMNS


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Path -> digest and time of writing of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


@pytest.fixture
def source(tmp_path, monkeypatch, capsys) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "--root", "source", "--num_images", "6", "--seed", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["6 pictures in source", "next: gdino prepare --source source --root data/sample"]
    return tmp_path / "source"


def test_sample_draws_pictures_with_annotations_and_the_same_bytes_again(source):
    assert sorted(path.stem for path in (source / "images").iterdir()) == sorted(
        path.stem for path in (source / "annotations").iterdir()
    )
    assert len(list((source / "images").glob("*.png"))) == 6
    assert main(["sample", "--root", "again", "--num_images", "6", "--seed", "3"]) == 0
    assert main(["sample", "--root", "other", "--num_images", "6", "--seed", "4"]) == 0
    drawn, again, other = (
        {name: digest for name, (digest, _) in contents(source.with_name(folder)).items()}
        for folder in ("source", "again", "other")
    )
    assert drawn == again
    assert drawn.keys() == other.keys()
    assert not set(drawn.values()) & set(other.values())


def test_prepare_writes_both_splits_and_changes_no_byte_on_a_second_run(source, capsys):
    command = ["prepare", "--source", "source", "--root", "data", "--num_train", "4"]
    assert main(command) == 0
    summary = capsys.readouterr().out
    data = source.with_name("data")
    for split, count in (("train", 4), ("test", 2)):
        assert len(list((data / split / "images").iterdir())) == count
        assert len(list((data / split / "labels").iterdir())) == count
        assert (data / split / "annotations.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
        assert f"{split}" in summary
    before = contents(data)
    assert main(command) == 0
    assert contents(data) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--num_train", "6"], "num_train"),
        (["--num_train", "0"], "num_train"),
        (["--num_train", "600"], "num_train"),
        (["--on_bad", "ignore"], "--on_bad"),
        (["--split", "fair"], "--split"),
    ],
)
def test_settings_that_cannot_be_met_are_bad_input(source, capsys, options, says):
    assert main(["prepare", "--source", "source", "--root", "data", *options]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.startswith("gdino: ")
    assert not source.with_name("data").exists()


def test_a_bad_record_stops_or_is_skipped_and_counted(source, capsys):
    xml = next(path for path in sorted((source / "annotations").iterdir()) if "<object>" in path.read_text())
    xml.write_text(xml.read_text().replace("<xmin>", "<xmin>x", 1))
    command = ["prepare", "--source", "source", "--root", "data", "--num_train", "3"]
    assert main(command) == 2
    assert xml.name in capsys.readouterr().err
    assert not source.with_name("data").exists()
    assert main([*command, "--on_bad", "skip"]) == 0
    assert "skipped" in capsys.readouterr().out


def test_prepare_splits_as_asked(source, capsys):
    command = ["prepare", "--source", "source", "--num_train", "4", "--split"]
    printed = {}
    for split in ("random", "grouped", "stratified"):
        assert main([*command, split, "--root", split]) == 0
        printed[split] = capsys.readouterr().out
    assert "kept together" not in printed["random"]
    assert "split      grouped: 0 groups of near-identical pictures kept together" in printed["grouped"]
    assert "split      stratified: classes in equal shares" in printed["stratified"]


def test_the_world_is_drawn_and_prepared_as_the_last_line_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "--subject", "world", "--num_images", "3"]) == 0
    following = capsys.readouterr().out.splitlines()[-1]
    assert following == "next: gdino prepare --source data/world-source --root data/world"
    assert main([*following.split()[2:], "--num_train", "2"]) == 0
    assert (tmp_path / "data" / "world" / "train" / "annotations.csv").is_file()


def test_prepare_writes_other_formats_and_reads_them_back(source, capsys):
    assert main(["prepare", "--source", "source", "--root", "yolo", "--to", "yolo", "--num_train", "0.5"]) == 0
    assert main(["prepare", "--source", "yolo", "--root", "tables"]) == 0
    printed = capsys.readouterr().out
    assert "format     yolo" in printed
    assert "split      as the source has it" in printed
    assert main(["prepare", "--source", "source", "--root", "straight", "--num_train", "3"]) == 0
    tables, straight = (
        [(source.with_name(folder) / split / "annotations.csv").read_text() for split in ("train", "test")]
        for folder in ("tables", "straight")
    )
    assert tables == straight


def test_prepare_tells_what_it_accepts_and_what_it_found(source, capsys):
    (source.with_name("other") / "pictures").mkdir(parents=True)
    assert main(["prepare", "--source", "other", "--root", "data"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("gdino: other: no dataset of a known layout, found pictures/ (0 files); accepted: ")
    assert main(["prepare", "--source", "source", "--root", "data", "--format", "coco"]) == 2
    assert "source: does not look like coco: COCO (" in capsys.readouterr().err
