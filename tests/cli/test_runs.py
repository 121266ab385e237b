"""Run folders: numbering, the link to the newest, and which checkpoint is meant."""

from pathlib import Path

import pytest

from gdino_lightning.cli.runs import forget_run, link_latest, new_run, resolve_checkpoint, run_of
from gdino_lightning.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget_run()
    yield
    forget_run()


def make_run(folder: Path, *checkpoints: str) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("a: 1\n")
    for name in checkpoints:
        (folder / "checkpoints" / f"{name}.ckpt").write_text(name)
    return folder


def choose(wanted: Path) -> Path:
    forget_run()
    return new_run(wanted)


def test_a_used_name_gets_a_number():
    wanted = Path("runs/a")
    assert choose(wanted) == Path("runs/a")
    make_run(Path("runs/a"))
    assert choose(wanted) == Path("runs/a-2")
    make_run(Path("runs/a-2"))
    assert choose(wanted) == Path("runs/a-3")
    make_run(Path("runs/a-3"))
    (Path("runs/a-2/config.yaml")).unlink()
    (Path("runs/a-2/checkpoints")).rmdir()
    assert choose(wanted) == Path("runs/a-2")


def test_an_empty_folder_is_free_and_a_file_is_not():
    Path("runs/a").mkdir(parents=True)
    assert choose(Path("runs/a")) == Path("runs/a")
    Path("runs/b").write_text("notes")
    assert choose(Path("runs/b")) == Path("runs/b-2")


def test_the_choice_stays_for_processes_that_start_later():
    assert new_run(Path("runs/a")) == Path("runs/a")
    make_run(Path("runs/a"))
    assert new_run(Path("runs/a")) == Path("runs/a")


def test_nothing_is_made_by_choosing():
    choose(Path("runs/a"))
    assert not Path("runs").exists()


def test_the_name_of_the_link_is_no_name_for_a_run():
    with pytest.raises(ConfigError, match="choose another name"):
        choose(Path("runs/latest"))


def test_latest_moves_to_the_newest_run():
    for name in ("a", "b"):
        link_latest(make_run(Path("runs") / name))
        assert Path("runs/latest").resolve() == Path("runs", name).resolve()
    assert not Path("runs/latest").readlink().is_absolute()  # a folder of runs can be moved
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "b", "latest"]


@pytest.mark.parametrize(
    ("text", "in_folder", "meant"),
    [
        ("best", "best", "runs/b/checkpoints/best.ckpt"),
        ("last", "best", "runs/b/checkpoints/last.ckpt"),
        ("runs/a/checkpoints/last.ckpt", "best", "runs/a/checkpoints/last.ckpt"),
        ("runs/a", "best", "runs/a/checkpoints/best.ckpt"),
        ("runs/a", "last", "runs/a/checkpoints/last.ckpt"),
        ("runs/latest", "best", "runs/b/checkpoints/best.ckpt"),
    ],
)
def test_a_checkpoint_can_be_named_in_several_ways(tmp_path, text, in_folder, meant):
    for name in ("a", "b"):
        link_latest(make_run(Path("runs") / name, "best", "last"))
    found = resolve_checkpoint(text, in_folder)
    assert found == Path(meant)
    assert resolve_checkpoint(str(tmp_path / meant)) == Path(meant)
    assert run_of(found) == Path(meant).parents[1]


def test_a_checkpoint_elsewhere_keeps_its_whole_path(tmp_path, monkeypatch):
    make_run(Path("runs/a"), "best")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert resolve_checkpoint(str(tmp_path / "runs/a")) == tmp_path.resolve() / "runs/a/checkpoints/best.ckpt"


@pytest.mark.parametrize("text", ["best", "last", "runs/a", "runs/a/checkpoints/epoch-07.ckpt", "nowhere"])
def test_a_missing_checkpoint_is_an_error_that_names_it(text):
    make_run(Path("runs/a"))
    with pytest.raises(CheckpointError, match=r"\.ckpt: no such checkpoint|nowhere: no such checkpoint") as caught:
        resolve_checkpoint(text)
    assert "ls runs/*/checkpoints" in str(caught.value)


def test_only_a_folder_with_a_configuration_is_a_run():
    run = make_run(Path("runs/a"), "best")
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert run_of(checkpoint) == run
    (run / "config.yaml").unlink()
    assert run_of(checkpoint) is None
    assert run_of(Path("downloads/best.ckpt")) is None
