"""`reference:` as typed: from the run to its test, and what is refused before any step."""

import pytest
import yaml
from verb_runs import ONE_STEP, fit_arguments, forbid_steps, rows, run_printed
from verb_runs import failure as failure_of

from gdino_lightning.cli import main

LARGER = ["--data.short_side=128", "--data.long_side_max=128", "--model.weights=nano"]


@pytest.mark.slow
def test_a_run_keeps_its_reference_can_monitor_it_and_is_tested_on_its_other_part(drawn, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stop = "{class_path: gdino_lightning.training.callbacks.GuardedEarlyStopping, init_args: {monitor: %s}}"
    watched = [f"--reference.root={world}", "--reference.num_pictures=4"]
    monitored = [f"--trainer.callbacks+={stop % 'val/reference/map_50'}"]
    run_printed(*fit_arguments(drawn), *LARGER, *ONE_STEP, *watched, *monitored)
    run = tmp_path / "runs" / "sample"
    saved = yaml.safe_load((run / "config.yaml").read_text())["reference"]
    assert saved == {"root": str(world), "phrases": None, "num_pictures": 4, "every_n_epochs": 1}
    run_printed("test", "--ckpt_path=best")
    scored = rows(run)
    assert [row["epoch"] for row in scored if row["val/reference/map"]] == ["0"]
    assert 0 <= float(scored[-1]["test/reference/map"]) <= float(scored[-1]["test/reference/map_50"]) <= 1
    assert main(["test", "--ckpt_path=best", "--reference=null"]) == 0
    assert not rows(run)[-1]["test/reference/map"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--reference.root=nowhere"], "nowhere/train/annotations.csv: no such table"),
        (["--reference.root={world}", "--reference.phrases={{wombat: null}}"], "reference.phrases: wombat: no box in"),
        (["--reference.root={world}", "--reference.num_pictures=0"], "reference.num_pictures is 0"),
        (["--reference.root={world}", "--reference.pictures=1"], "Option 'pictures' is not accepted"),
        (
            [
                "--reference.root={world}",
                "--reference.every_n_epochs=2",
                "--trainer.callbacks.monitor=val/reference/map",
            ],
            "monitor 'val/reference/map' is never logged",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_step(drawn, world, tmp_path, monkeypatch, capfd, flags, said):
    monkeypatch.chdir(tmp_path)
    forbid_steps(monkeypatch)
    callbacks = "--trainer.callbacks=[{class_path: gdino_lightning.training.callbacks.EpochCheckpoints}]"
    given = [flag.format(world=world) for flag in flags]
    assert said in failure_of(capfd, *fit_arguments(drawn), callbacks, *given)
