"""The harness of the ablations: arithmetic of its tables, what it trains, and what it never trains twice."""

import csv
import json
import re
from collections import defaultdict

import pytest
import torch
import yaml

from benchmarks import _measures, _training, ablations
from benchmarks._runs import Result, RunError, Variant, flags, gdino, read_results
from benchmarks._tables import METRICS, Spread, differences, markdown, report, summarise
from gdino_lightning import cli
from gdino_lightning.model.nano import random_nano
from gdino_lightning.model.pretrained import load_pretrained

DEFAULTS = {
    "weights": "nano",
    "fusion": True,
    "sub_sentence": True,
    "look_forward_twice": False,
    "class_weights": "match2_loss1",
    "token_score": "mean",
}
ALL_ON = Variant("all on")
FUSION_OFF = Variant("fusion off", "fusion", False)


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, value)


def result(value: float, **changed: object) -> Result:
    return Result({**DEFAULTS, **changed}, scores(value), {}, seconds=90.0)


class FakeProgram:
    """Stands for `gdino`: notes every call and leaves the files that a run leaves.

    The score is .3 + seed / 100, and .1 less with a key changed; a test scores .15 less than a validation, and the
    other token score gives .05 more.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.failing_at: str | None = None
        self.failure: BaseException = RunError("fit ended with exit code 3; ...", 3)
        self.defaults = dict(DEFAULTS)
        self.rows = defaultdict(list)

    def __call__(self, verb, arguments, folder):
        self.calls.append((verb, dict(arguments)))
        assert not (folder / "half_a_run").exists()
        if self.failing_at and self.failing_at in str(folder):
            (folder / "half_a_run").touch()
            raise self.failure
        if verb == "fit":
            self._leave_a_run(arguments, folder)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        value = 0.3 + config["seed_everything"] / 100
        value -= 0.1 if any(config["model"][key] != DEFAULTS[key] for key in ("fusion", "sub_sentence")) else 0
        value += (0.05 if "model.token_score" in arguments else 0) - (0.15 if verb == "test" else 0)
        stage = "test" if verb == "test" else "val"
        self.rows[folder].append({f"{stage}/map": value, f"{stage}/map_50": value, "step": 9})
        with (folder / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", *METRICS], restval="")
            writer.writeheader()
            writer.writerows(self.rows[folder])

    def fits(self) -> list[str]:
        """The runs that were trained, in order."""
        return ["/".join(arguments["run"].parts[-2:]) for verb, arguments in self.calls if verb == "fit"]

    def _leave_a_run(self, arguments, folder):
        self.rows[folder].clear()
        changed = {key.removeprefix("model."): value for key, value in arguments.items() if key.startswith("model.")}
        model = self.defaults | changed | {"weights": str(arguments["model.weights"])}
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"seed_everything": arguments["seed_everything"], "model": model})
        )
        (folder / "checkpoints").mkdir()
        for name in ("best", "last", "epoch-00"):
            (folder / "checkpoints" / f"{name}.ckpt").touch()


@pytest.fixture
def program(monkeypatch) -> FakeProgram:
    fake = FakeProgram()
    monkeypatch.setattr(_training, "gdino", fake)
    monkeypatch.setattr(_measures, "draw_dataset", lambda root, num_images: None)
    monkeypatch.setattr(_measures, "model_defaults", lambda: fake.defaults)
    return fake


@pytest.fixture
def run(tmp_path):
    """Run the harness on two seeds of the baseline and `fusion off`, unless other arguments are given."""

    def run_(*arguments: str) -> int:
        usual = ["--variants=all on,fusion off", "--seeds=0,1", "--epochs=2", "--num_images=16", "--short_side=64"]
        return ablations.main([*usual, f"--root={tmp_path / 'data'}", f"--runs={tmp_path / 'runs'}", *arguments])

    return run_


def refused(capsys, *arguments: str) -> str:
    """What is printed for arguments that the parser refuses, in one line."""
    with pytest.raises(SystemExit) as stop:
        ablations.main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def cells(table: str, name: str) -> list[list[str]]:
    """The rows of that name, of all tables."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in rows if row[0] == name]


def test_mean_and_sample_standard_deviation_by_hand():
    found = Spread.of([0.1, 0.2, 0.6])
    assert found.mean == pytest.approx(0.3)
    assert found.spread == pytest.approx(0.07**0.5)  # (.04 + .01 + .09) / 2
    assert found.n == 3


def test_one_seed_has_no_spread():
    assert Spread.of([0.4]) == Spread(0.4, None, 1)


def test_a_difference_is_taken_within_each_seed():
    baseline = {0: scores(0.10), 1: scores(0.30), 2: scores(0.50)}
    run = {0: scores(0.12), 1: scores(0.32), 2: scores(0.52)}
    found = summarise(differences(run, baseline))["test/map"]
    assert found.mean == pytest.approx(0.02)
    assert found.spread == pytest.approx(0, abs=1e-12)  # though the scores themselves spread by .2


def test_a_seed_that_only_one_of_the_two_has_makes_no_difference():
    found = summarise(differences({1: scores(0.4), 2: scores(0.9)}, {0: scores(0.1), 1: scores(0.5)}))["val/map"]
    assert found.n == 1
    assert found.mean == pytest.approx(-0.1)


def test_the_tables_by_hand():
    results = {
        "all on": {0: result(0.30), 1: result(0.40)},
        "fusion off": {0: result(0.25), 1: result(0.37)},
        "unfinished": {},
    }
    text = markdown(results)
    # .30 and .40: sd .1 / sqrt(2); .25 and .37: .12 / sqrt(2); -.05 and -.03: .02 / sqrt(2)
    assert cells(text, "all on") == [["all on", "2", *[".350 ± .071"] * 4, "1.5"]]
    assert cells(text, "fusion off") == [
        ["fusion off", "2", *[".310 ± .085"] * 4, "1.5"],
        ["fusion off", "2", *["-.040 ± .014"] * 4],
    ]
    assert cells(text, "unfinished") == [["unfinished", "0", *"-----"], ["unfinished", "0", *"----"]]
    assert "token_score" not in text
    assert report(results)["fusion off"]["difference"]["val/map"]["mean"] == pytest.approx(-0.04)


def test_scores_of_one_and_differences_of_nothing_keep_their_shape():
    text = markdown({"all on": {0: result(1.0)}, "same": {0: result(1.0 - 1e-9)}})
    assert cells(text, "all on") == [["all on", "1", *["1.000"] * 4, "1.5"]]
    assert cells(text, "same")[1] == ["same", "1", *["+.000"] * 4]


def test_every_variant_and_seed_is_trained_once_and_compared_by_seed(program, run, capsys):
    assert run() == 0
    assert program.fits() == ["all-on/seed-0", "fusion-off/seed-0", "all-on/seed-1", "fusion-off/seed-1"]
    printed = capsys.readouterr().out
    assert "2 of 4: fusion off, seed 0: val/map 0.200, test/map 0.050, 0.0 min\n" in printed
    both = [".305 ± .007"] * 2 + [".155 ± .007"] * 2
    assert cells(printed, "all on") == [["all on", "2", *both, "0.0"]]
    assert cells(printed, "fusion off")[1] == ["fusion off", "2", *["-.100 ± .000"] * 4]


def test_finished_runs_are_read_back_and_new_ones_add_to_them(program, run, capsys):
    run("--seeds=0")
    first = capsys.readouterr().out
    assert run("--seeds=0") == 0
    assert program.fits() == ["all-on/seed-0", "fusion-off/seed-0"]
    assert capsys.readouterr().out.splitlines()[1:] == first.splitlines()[3:]  # the same tables, trained or read
    assert run("--variants=all on,fusion off,sub_sentence off") == 0
    rows = ("all-on", "fusion-off", "sub_sentence-off")
    assert program.fits()[2:] == ["sub_sentence-off/seed-0", *(f"{row}/seed-1" for row in rows)]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (RunError("fit ended with exit code 3; the end of the log", 3), 3, "exit code 3; the end of the log"),
        (KeyboardInterrupt(), 130, "finished runs are kept"),
    ],
)
def test_a_run_that_ends_early_is_the_only_one_lost(program, run, capsys, failure, code, said):
    program.failing_at, program.failure = "fusion-off/seed-0", failure
    assert run() == code
    assert said in capsys.readouterr().err
    program.failing_at = None
    assert run() == 0
    assert program.fits().count("all-on/seed-0") == 1
    assert program.fits().count("fusion-off/seed-0") == 2  # from an empty folder: the fake sees to it


def test_report_trains_nothing(program, run, capsys, tmp_path):
    assert run("--report") == 2
    assert "nothing was run" in capsys.readouterr().err
    run("--variants=all on", "--seeds=1")
    called = len(program.calls)
    assert run("--report", f"--output={tmp_path / 'tables.md'}") == 0
    assert len(program.calls) == called
    text = (tmp_path / "tables.md").read_text()
    assert cells(text, "all on")[0][:3] == ["all on", "1", ".310"]
    assert cells(text, "fusion off")[0][:3] == ["fusion off", "0", "-"]
    numbers = json.loads((tmp_path / "tables.json").read_text())
    assert numbers["settings"] == {"weights": "nano-random", "num_images": 16, "short_side": 64, "epochs": 2}
    assert numbers["variants"]["all on"]["scores"]["val/map"] == {"mean": 0.31, "spread": None, "n": 1}
    assert list(numbers["variants"]["all on"]["runs"]) == ["1"]


def test_the_baseline_is_scored_with_both_token_scores(program, run, capsys):
    run("--seeds=0")
    printed = capsys.readouterr().out
    assert cells(printed, "mean") == [["mean", "1", ".300", ".300", ".150", ".150"]]
    assert cells(printed, "max") == [["max", "1", ".350", ".350", ".200", ".200"]]
    verbs = [(verb, arguments.get("model.token_score")) for verb, arguments in program.calls]
    assert verbs == [("fit", None), ("test", None), ("validate", "max"), ("test", "max"), ("fit", None), ("test", None)]


def test_where_the_default_is_max_the_other_token_score_is_mean(program, run, capsys):
    program.defaults["token_score"] = "max"
    run("--seeds=0", "--variants=all on")
    assert cells(capsys.readouterr().out, "mean") == [["mean", "1", ".350", ".350", ".200", ".200"]]


def test_variants_of_a_seed_differ_in_one_key(program, run):
    run("--seeds=3")
    (_, baseline), (_, changed) = [call for call in program.calls if call[0] == "fit"]
    assert changed.keys() - baseline.keys() == {"model.fusion"}
    differing = {key for key in baseline if baseline[key] != changed[key]}
    assert differing == {"run", "model.weights"}  # their own folders
    assert baseline["seed_everything"] == baseline["data.seed"] == 3


def test_random_weights_follow_from_the_seed(tmp_path):
    for seed in (0, 5):
        folder = _training._weights("nano-random", seed, tmp_path / str(seed))
        loaded, drawn = load_pretrained(folder).model.state_dict(), random_nano(seed).state_dict()
        assert loaded.keys() == drawn.keys()
        assert all(torch.equal(loaded[name], drawn[name]) for name in drawn)
    assert _training._weights("some/folder", 5, tmp_path) == "some/folder"


def test_only_the_best_checkpoint_of_a_run_stays(program, run, tmp_path):
    run("--seeds=0", "--variants=all on")
    folder = tmp_path / "runs" / "all-on" / "seed-0"
    assert {path.name for path in folder.iterdir()} == {"checkpoints", "config.yaml", "metrics.csv", "result.json"}
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.ckpt"]


def test_runs_of_other_sizes_are_not_mixed(program, run, capsys):
    run("--seeds=0", "--variants=all on")
    assert run("--epochs=3") == 2
    assert "choose another --runs" in capsys.readouterr().err
    assert len(program.fits()) == 1


def test_runs_of_other_defaults_are_not_compared(program, run, capsys):
    run("--seeds=0", "--variants=all on")
    program.defaults["class_weights"] = "match1_loss2"
    assert run("--seeds=0") == 2
    assert "in class_weights, fusion instead of fusion" in capsys.readouterr().err


def test_a_key_that_only_the_newer_run_knows_is_no_difference(tmp_path):
    for variant, found in ((ALL_ON, result(0.3)), (FUSION_OFF, result(0.2, fusion=False, new_key=7))):
        path = tmp_path / variant.folder / "seed-0" / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(vars(found)))
    assert read_results([ALL_ON, FUSION_OFF], [0, 1], tmp_path) == {
        "all on": {0: result(0.3)},
        "fusion off": {0: result(0.2, fusion=False, new_key=7)},
    }


def test_a_variant_that_the_model_cannot_have_stops_before_any_training(program, run, capsys):
    assert run("--variants=all on,denoising_queries 100") == 2
    assert "no key denoising_queries" in capsys.readouterr().err
    program.defaults["class_weights"] = "match1_loss2"
    assert run("--variants=all on,match1_loss2") == 2
    assert "changes nothing" in capsys.readouterr().err
    assert program.calls == []


@pytest.mark.parametrize("default", [True, False])
def test_a_switch_is_flipped_against_its_default(default):
    flipped = Variant("look_forward_twice flipped", "look_forward_twice")
    assert flipped.keys({"look_forward_twice": default}) == {"look_forward_twice": not default}


def test_every_variant_changes_a_key_that_the_model_has():
    defaults = _training.model_defaults()
    changed = [variant.keys(defaults) for variant in ablations.VARIANTS]
    assert changed[0] == {}
    assert all(len(keys) == 1 for keys in changed[1:])
    assert all(type(value) is type(defaults[key]) for keys in changed for key, value in keys.items())


def test_a_wrong_variant_is_answered_with_the_list(capsys):
    printed = refused(capsys, "--variants", "all on,fusoin off")
    assert "fusoin" in printed
    assert all(variant.name in printed.split("there are:")[1] for variant in ablations.VARIANTS)


def test_variants_are_named_with_blanks_or_hyphens():
    names = [variant.name for variant in ablations._variants("fusion-off, all on,fusion off")]
    assert names == ["fusion off", "all on"]


@pytest.mark.parametrize("arguments", [("--seeds", "0,a"), ("--seeds", "-1"), ("--epochs", "0"), ("--num_images", "x")])
def test_wrong_numbers_are_refused(capsys, arguments):
    assert "whole number" in refused(capsys, *arguments)


def test_help_names_options_and_variants(capsys):
    with pytest.raises(SystemExit) as stop:
        ablations.main(["--help"])
    assert stop.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(
        option in printed for option in ("--variants", "--seeds", "--epochs", "--runs", "--report", "fusion off")
    )


def test_a_failing_verb_is_told_with_the_end_of_its_log(tmp_path):
    with pytest.raises(RunError, match=re.escape(str(tmp_path / "run" / "log.txt"))) as error:
        gdino("nonsense", {}, tmp_path / "run")
    assert error.value.code == 2
    assert "there is no verb 'nonsense'" in str(error.value).splitlines()[-1]


@pytest.mark.slow
def test_a_row_is_really_trained_and_scored(drawn, run, monkeypatch, capsys):
    """As typed, but in this process: four others would take half a minute to start."""

    def in_this_process(verb, arguments, folder):
        assert cli.main([verb, *flags(arguments)]) == 0

    monkeypatch.setattr(_training, "gdino", in_this_process)
    monkeypatch.setattr(_measures, "draw_dataset", lambda root, num_images: None)
    assert run("--variants=all on,match1_loss2", "--seeds=0", "--epochs=1", f"--root={drawn}") == 0
    printed = capsys.readouterr().out
    for name in ("all on", "match1_loss2", "mean", "max"):
        score = cells(printed, name)[0]
        assert score[1] == "1"
        assert all(0 <= float(cell) <= 1 for cell in score[2:6])
