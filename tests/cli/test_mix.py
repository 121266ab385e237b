"""`fit` on several datasets at once, as typed."""

import pytest
import yaml
from verb_runs import SIZES, failure, forbid_steps, rows, run_printed

OWN = {"with_mask": "with mask", "without_mask": "without mask", "mask_weared_incorrect": "mask worn incorrectly"}
OTHERS = {"with_mask": "masked face", "without_mask": "bare face", "mask_weared_incorrect": "nose out"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, root in enumerate(("own", "more")):
        run_printed("sample", "--root", f"{root}-source", "--num_images", "12", "--seed", str(seed))
        run_printed("prepare", "--source", f"{root}-source", "--root", root, "--num_train", "10")

    def write(**mixed):
        settings = {
            "run": "runs/mix",
            "model": {"weights": "nano", "phrases": OWN},
            "data": {"root": "own", "val": "test", "num_workers": 0, **SIZES},
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "enable_progress_bar": False},
        }
        settings["data"]["mix"] = [{"root": "more", "phrases": OTHERS, "weight": 0.4, **mixed}]
        (tmp_path / "mix.yaml").write_text(yaml.safe_dump(settings))
        return str(tmp_path / "mix.yaml")

    return write


def test_a_run_on_two_datasets_takes_the_share_of_the_second_and_says_so_in_its_configuration(config, tmp_path):
    run_printed("fit", "--config", config())
    steps = [row for row in rows(tmp_path / "runs" / "mix") if row.get("train/loss")]
    assert len(steps) == 2 * 4  # batches of four: ten pictures and four more in each epoch
    kept = yaml.safe_load((tmp_path / "runs" / "mix" / "config.yaml").read_text())
    assert kept["data"]["mix"] == [{"root": "more", "phrases": OTHERS, "weight": 0.4}]


@pytest.mark.parametrize(
    ("mixed", "said"),
    [
        ({"weight": 2}, "the weight of more is 2.0; expected the share"),
        ({"root": "nowhere"}, "nowhere/train/annotations.csv: no such table; data.mix wants folders"),
        ({"phrases": {"with_mask": "face"}}, "labels mask_weared_incorrect, without_mask have no wording in data.mix"),
        ({"phrases": dict.fromkeys(OTHERS, "face")}, "data.mix, more: phrases: classes"),
        ({"wieght": 1}, "'wieght' is not accepted"),
    ],
    ids=["weight", "root", "missing wording", "same wording", "key"],
)
def test_a_mix_that_cannot_be_is_told_before_the_first_step(config, capfd, monkeypatch, mixed, said):
    forbid_steps(monkeypatch)
    assert said in failure(capfd, "fit", "--config", config(**mixed))
