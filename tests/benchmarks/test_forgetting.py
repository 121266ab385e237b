"""The measurement of forgetting: its rows, and one of each kind really made."""

import json

import pytest

from benchmarks import forgetting
from benchmarks._runs import RunError, flags
from gdino_lightning import cli

WORDS = ["--epochs=1", "--num_images=24", "--num_scenes=4", "--short_side=128"]


def cells(table: str, name: str) -> list[list[str]]:
    """The rows of that name, of all tables."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in rows if row[0] == name]


def test_every_row_changes_one_thing_that_there_is():
    known = forgetting.defaults()
    changed = [variant.keys(known) for variant in forgetting.VARIANTS]
    assert changed[0] == {}
    assert all(len(keys) == 1 for keys in changed[1:])
    assert known["negatives"] is None  # all that fit
    assert known["freeze"] == []


def test_report_without_runs_and_a_failing_verb_are_one_line(tmp_path, monkeypatch, capsys):
    places = [f"--runs={tmp_path / 'runs'}", f"--root={tmp_path / 'masks'}", f"--reference={tmp_path / 'world'}"]
    assert forgetting.main(["--report", *places]) == 2
    assert "nothing was run" in capsys.readouterr().err

    def failing(*_):
        raise RunError("fit ended with exit code 3", 3)

    for name in ("draw_dataset", "draw_world"):
        monkeypatch.setattr(forgetting, name, lambda root, number: None)
    monkeypatch.setattr(forgetting, "gdino", failing)
    assert forgetting.main([*WORDS, *places]) == 3
    assert capsys.readouterr().err == "forgetting: fit ended with exit code 3\n"


@pytest.mark.slow
def test_a_row_of_each_kind_is_really_made(drawn, world, tmp_path, monkeypatch, capsys):
    """As typed, but in this process: others would take long to start."""
    verbs = []

    def in_this_process(verb, arguments, folder, *switches):
        verbs.append(verb)
        assert cli.main([verb, *flags(arguments), *switches]) == 0

    plain, before, *_, mixed = forgetting.VARIANTS
    frozen = next(variant for variant in forgetting.VARIANTS if variant.key == "freeze")
    monkeypatch.setattr(forgetting, "VARIANTS", (plain, before, frozen, mixed))
    monkeypatch.setattr(forgetting, "gdino", in_this_process)
    for name in ("draw_dataset", "draw_world"):
        monkeypatch.setattr(forgetting, name, lambda root, number: None)
    output = tmp_path / "out.md"
    places = [f"--runs={tmp_path / 'runs'}", f"--root={drawn}", f"--reference={world}", f"--output={output}"]
    assert forgetting.main([*WORDS, *places]) == 0
    assert verbs == ["fit", "test", "test", "fit", "test", "select", "test"]
    printed = capsys.readouterr().out
    for variant in (plain, before, frozen, mixed):
        scores = cells(printed, variant.name)[0]
        assert scores[1] == "1"
        assert all(0 <= float(cell) <= 1 for cell in scores[2:6])
    assert cells(printed, before.name)[0][4] > ".2"  # the miniature knows the world
    numbers = json.loads(output.with_suffix(".json").read_text())["variants"]
    assert list(numbers) == [plain.name, before.name, frozen.name, mixed.name]
    assert numbers[frozen.name]["runs"]["0"]["model"]["freeze"] == ["text_encoder"]
    assert forgetting.main([*WORDS, *places, "--report"]) == 0
    assert len(verbs) == 7
