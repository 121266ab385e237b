"""Two runs side by side: what is trained, what is never trained twice, the tables, and the page that holds them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks import _epochs, two_runs
from benchmarks._epochs import History
from benchmarks._runs import RunError, flags
from benchmarks._two_runs_page import NOT_RUN, Finished, fill, picture, tables
from gdino_lightning import cli
from gdino_lightning.errors import ConfigError
from gdino_lightning.training.metrics_csv import read_metrics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "two_runs.md"


def scores(value: float, *points: str) -> dict[str, float]:
    found = {"map": value, "map_error": 0.01, "map_50": 2 * value}
    for place, point in enumerate(points, 1):
        found |= {f"{point}/boxes_per_object": place * value * 10, f"{point}/false_positives": 1.5}
        found |= {f"{point}/ece": 0.25, f"{point}/f1": -1.0}
    return found


def finished(title: str = "tutorial", *, selects: bool = False, own: bool = False) -> Finished:
    """Three epochs; test mAP .1, .2, .3, .2 from before training on, val/map .05 more; the second one is chosen."""
    points = ("fixed", "loose", *(["own"] if own else []))
    rows = [{"epoch": 0, **scores(0.1, "fixed", "loose")}]
    rows += [
        {"epoch": epoch, "val/map": value + 0.05, **scores(value, *points)}
        for epoch, value in enumerate((0.2, 0.3, 0.2), 1)
    ]
    settings = {"model.learning_rate": 1e-5, "model.freeze": [], "data.augmentation": None}
    arguments = {"config": "configs/a.yaml", "data.source": None, "trainer.callbacks": [{"class_path": "x"}]}
    return Finished(title, arguments, settings, selects, last=3, chosen=2, epochs=rows, seconds=90.0)


def cells(table: str, name: str) -> list[list[str]]:
    """The rows of that name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in rows if row[0] == name]


class FakeProgram:
    """Stands for `gdino fit` and for the scoring: notes the arguments and leaves a run's checkpoints."""

    def __init__(self) -> None:
        self.fits: dict[str, dict[str, object]] = {}
        self.counts: dict[str, int] = {}
        self.failing_at: str | None = None

    def fit(self, verb, arguments, folder):
        assert verb == "fit"
        assert not folder.exists()
        self.fits[folder.name] = dict(arguments)
        self.counts[folder.name] = self.counts.get(folder.name, 0) + 1
        (folder / "checkpoints").mkdir(parents=True)
        if folder.name == self.failing_at:
            raise RunError("fit ended with exit code 3; ...", 3)
        for name in ("epoch-00", "epoch-01", "epoch-02", "best", "last"):
            (folder / "checkpoints" / f"{name}.ckpt").touch()

    def score(self, folder, *, selects, every_epoch):
        run = finished(own=selects)
        rows = run.epochs if every_epoch else [row for row in run.epochs if row["epoch"] in (2, 3)]
        return History(run.last, run.chosen, rows)


@pytest.fixture
def program(monkeypatch) -> FakeProgram:
    fake = FakeProgram()
    monkeypatch.setattr(two_runs, "gdino", fake.fit)
    monkeypatch.setattr(_epochs, "score_run", fake.score)
    monkeypatch.setattr(two_runs, "draw_dataset", lambda root, num_images: None)
    return fake


@pytest.fixture
def run(tmp_path):
    def run_(*arguments: str) -> int:
        return two_runs.main([f"--root={tmp_path / 'data'}", f"--runs={tmp_path / 'runs'}", *arguments])

    return run_


def test_the_two_and_the_four_are_trained(program, run, tmp_path):
    assert run() == 0
    assert list(program.fits) == ["tutorial", "tutorial_faster", "ours"]
    assert run("--epochs_table") == 0
    assert list(program.fits)[3:] == ["neither", "weight_decay", "dropout", "both"]
    assert set(program.counts.values()) == {1}
    assert {path.name for path in (tmp_path / "runs" / "ours" / "checkpoints").iterdir()} == {
        "best.ckpt",
        "epoch-02.ckpt",
    }


def test_the_files_of_configs_are_run_with_little_changed(program, run):
    run("--epochs=50", "--our_epochs=7", "--short_side=96", "--rate_factor=20", "--val=0.3")
    shared = {"model.weights", "data.root", "data.source", "data.short_side", "data.long_side_max"}
    shared |= {"data.train_short_sides", "data.canvas_multiple", "data.eval_batch_size", "data.num_workers"}
    shared |= {"data.cache", "trainer.accelerator", "trainer.enable_progress_bar", "trainer.callbacks"}
    shared |= {"config", "run", "trainer.max_epochs", "trainer.check_val_every_n_epoch"}
    assert program.fits["tutorial"].keys() == shared
    assert program.fits["tutorial_faster"].keys() == shared | {"model.learning_rate"}
    assert program.fits["ours"].keys() == shared | {"data.val"}
    assert program.fits["tutorial_faster"]["model.learning_rate"] == pytest.approx(20 * 1e-5)
    assert [program.fits[name]["trainer.max_epochs"] for name in two_runs.FITTED] == [50, 50, 7]
    assert {Path(each["config"]).name for each in program.fits.values()} == {"tutorial.yaml", "sample.yaml"}
    assert {each["data.short_side"] for each in program.fits.values()} == {96}


def test_callbacks_are_those_of_the_file_and_every_epoch_is_kept(program, run):
    run("--epochs_table")
    for name, config in (("tutorial", "tutorial"), ("ours", "sample")):
        listed = yaml.safe_load((ROOT / "configs" / f"{config}.yaml").read_text())["trainer"]["callbacks"]
        given = program.fits[name]["trainer.callbacks"]
        assert [each["class_path"] for each in given] == [each["class_path"] for each in listed]
        kept = {each["init_args"]["keep"] for each in given if "EpochCheckpoints" in each["class_path"]}
        assert kept == {two_runs.ALL_EPOCHS}
    of_variants = [each["class_path"].rpartition(".")[2] for each in program.fits["both"]["trainer.callbacks"]]
    assert of_variants == ["Calibrate", "EpochCheckpoints"]


def test_variants_differ_in_decay_and_dropout_alone(program, run):
    run("--epochs_table", "--weight_decay=0.2", "--dropout=0.3")
    found = {name: program.fits[name] for name in two_runs.VARIANTS}
    two = {name: (each["model.weight_decay"], each["model.dropout"]) for name, each in found.items()}
    assert two == {"neither": (0, 0), "weight_decay": (0.2, 0), "dropout": (0, 0.3), "both": (0.2, 0.3)}
    rest = [
        {key: value for key, value in each.items() if key not in ("run", "model.weight_decay", "model.dropout")}
        for each in found.values()
    ]
    assert all(each == rest[0] for each in rest)
    assert rest[0]["model.schedule"] == "constant"


def test_a_run_that_fails_is_the_only_one_lost(program, run, capsys):
    program.failing_at = "tutorial_faster"
    assert run() == 3
    assert "exit code 3" in capsys.readouterr().err
    program.failing_at = None
    assert run() == 0
    assert program.counts == {"tutorial": 1, "tutorial_faster": 2, "ours": 1}


def test_runs_of_other_settings_are_not_mixed(program, run, capsys):
    run()
    assert run("--short_side=64") == 2
    assert "other settings (data.long_side_max, data.short_side)" in capsys.readouterr().err
    assert set(program.counts.values()) == {1}


def test_report_trains_nothing_and_says_the_same(program, run, capsys, tmp_path):
    assert run("--report") == 2
    assert "no finished run" in capsys.readouterr().err
    run()
    first = capsys.readouterr().out
    assert run("--report") == 0
    assert set(program.counts.values()) == {1}
    assert capsys.readouterr().out in first
    numbers = json.loads((tmp_path / "runs" / "two_runs.json").read_text())
    assert [each["title"] for each in numbers["runs"]] == ["tutorial", "tutorial, rate x 30", "ours"]
    assert (tmp_path / "runs" / "two_runs.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_is_filled_in_again_and_again(program, run, tmp_path):
    page = tmp_path / "docs" / "two_runs.md"
    page.parent.mkdir()
    page.write_text(PAGE.read_text())
    assert run(f"--write={page.parent}") == 0
    first = page.read_text()
    assert "| ours: epoch 2, selected | calibrated | 0.300 ± 0.010 | 0.600 | 9.000 | 1.500 | 0.250 | - |" in first
    assert "\ngdino fit \\\n    --config=" in first
    assert run(f"--write={page.parent}", "--report") == 0
    assert page.read_text() == first
    assert {path.name for path in page.parent.iterdir()} == {"two_runs.md", "two_runs.png", "two_runs.json"}


def test_a_page_that_is_missing_or_marked_otherwise_is_refused(program, run, capsys, tmp_path):
    assert run(f"--write={tmp_path}") == 2
    assert "no such page" in capsys.readouterr().err
    (tmp_path / "two_runs.md").write_text("<!-- table: epochs -->\n<!-- end -->\n")
    assert run(f"--write={tmp_path}") == 2
    assert "marks the tables epochs, expected commands" in capsys.readouterr().err


def test_the_page_in_docs_says_what_its_numbers_say():
    numbers = json.loads(PAGE.with_suffix(".json").read_text())
    runs, variants = ([Finished(**each) for each in numbers[name]] for name in ("runs", "variants"))
    assert fill(PAGE.read_text(), tables(runs, variants)) == PAGE.read_text()


def test_fill_replaces_what_lies_between_the_marks():
    page = "a\n<!-- table: one -->\nold\nolder\n<!-- end -->\nb\n<!-- table: two -->\n<!-- end -->\n"
    filled = fill(page, {"one": "1", "two": r"\2"})
    assert filled == "a\n<!-- table: one -->\n1\n<!-- end -->\nb\n<!-- table: two -->\n\\2\n<!-- end -->\n"
    with pytest.raises(ConfigError, match="one, two, expected one"):
        fill(page, {"one": "1"})


def test_the_tables_by_hand():
    runs = [finished(), finished("ours", selects=True, own=True)]
    found = tables(runs, runs)
    assert cells(found["handed_over"], "before training") == [
        ["before training", "0.35, NMS 0.5", "0.100 ± 0.010", "0.200", "1.000", "1.500", "0.250", "-"],
        ["before training", "0.35, NMS 0.8", "0.100 ± 0.010", "0.200", "2.000", "1.500", "0.250", "-"],
    ]
    assert [row[1:5] for row in cells(found["handed_over"], "tutorial: epoch 3, the last")] == [
        ["0.35, NMS 0.5", "0.200 ± 0.010", "0.400", "2.000"],
        ["0.35, NMS 0.8", "0.200 ± 0.010", "0.400", "4.000"],
    ]
    ours = cells(found["handed_over"], "ours: epoch 2, selected")
    assert [row[1] for row in ours] == ["0.35, NMS 0.5", "0.35, NMS 0.8", "calibrated"]
    assert ours[2][4] == "9.000"
    assert cells(found["epochs"], "val mAP, epoch 1") == [["val mAP, epoch 1", "0.250", "0.250"]]
    assert cells(found["epochs"], "val mAP, epoch 3") == [["val mAP, epoch 3", "0.250", "0.250"]]
    assert cells(found["epochs"], "selected epoch") == [["selected epoch", "2", "2"]]
    assert cells(found["epochs"], "test mAP, last epoch")[0][1:] == ["0.200", "0.200"]
    assert cells(found["epochs"], "test boxes per object, selected epoch")[0][1:] == ["3.000", "3.000"]
    assert cells(found["settings"], "model.learning_rate")[0][1:] == ["1e-05", "1e-05"]
    assert cells(found["settings"], "data.augmentation")[0][1:] == ["null", "null"]
    assert cells(found["settings"], "model.weight_decay") == []  # at its default in all
    assert found["commands"].splitlines()[1:4] == [
        "gdino fit \\",
        "    --config=configs/a.yaml \\",
        "    --data.source=null",
    ]


def test_tables_of_nothing_say_so():
    assert set(tables([], []).values()) == {NOT_RUN}
    assert tables([], [finished()])["handed_over"] == NOT_RUN
    assert tables([finished()], [])["epochs"] == NOT_RUN


def test_the_picture_shows_curves_at_what_users_get_and_marks_what_is_handed_over():
    figure = picture([finished(), finished("ours", selects=True, own=True)])
    boxes, average, _ = figure.axes
    named = {line.get_label(): line for line in boxes.get_lines()}
    assert list(named["tutorial"].get_xdata()) == [0, 1, 2, 3]
    assert list(named["tutorial"].get_ydata()) == pytest.approx([1, 2, 3, 2])
    assert list(named["ours"].get_xdata()) == [1, 2, 3]  # nothing is calibrated before training
    assert list(named["ours"].get_ydata()) == pytest.approx([6, 9, 6])
    assert list(named["ours, thresholds of the literature"].get_ydata()) == pytest.approx([1, 2, 3, 2])
    circles = [line.get_xydata().tolist() for line in average.get_lines() if line.get_marker() == "o"]
    assert circles == [[[3, 0.2]], [[2, 0.3]]]


def test_what_is_undefined_is_a_gap():
    run = finished()
    run.epochs[2]["fixed/ece"] = -1
    assert list(run.curve("fixed/ece")) == [0, 1, 3]


@pytest.mark.slow
def test_a_run_is_really_trained_and_scored(drawn, tmp_path, monkeypatch):
    """As typed, but in this process. Truth is what `gdino test` writes into metrics.csv."""

    def in_this_process(verb, arguments, folder):
        assert cli.main([verb, *flags(arguments)]) == 0

    monkeypatch.setattr(two_runs, "gdino", in_this_process)
    options = ["--epochs=2", "--our_epochs=2", "--short_side=64", "--weights=nano-random", f"--root={drawn}"]
    parsed = two_runs._parser().parse_args(options)
    tutorial, _, ours = two_runs._two(parsed)
    results = [two_runs.fit_and_score(run, tmp_path) for run in (replace(tutorial, every_epoch=False), ours)]
    for run, found in zip((tutorial, ours), results, strict=True):
        assert found.last == 2
        assert found.chosen in (1, 2)
        assert list(found.curve("val/map")) == [1, 2]
        assert sorted(found.curve("map")) == ([0, 1, 2] if run is ours else sorted({found.chosen, 2}))
        assert ("own/f1" in found.at(2)) == (run is ours)  # the tutorial's would be fitted to the test split
    assert cli.main(["test", f"--ckpt_path={tmp_path / 'ours' / 'checkpoints' / 'best.ckpt'}"]) == 0
    tested = read_metrics(tmp_path / "ours" / "metrics.csv")[1][-1]
    row = results[1].at(results[1].chosen)
    names = {"map": "map", "map_50": "map_50"}
    names |= {f"own/{key}": f"over/{key}" for key in ("boxes_per_object", "false_positives")}
    names |= {f"own/{key}": f"working/{key}" for key in ("ece", "f1")}
    expected = {key: float(tested[f"test/{name}"]) for key, name in names.items()}
    assert {key: row[key] for key in names} == pytest.approx(expected, abs=1e-5)
