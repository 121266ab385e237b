"""`test --protocol odinw`: the datasets of a folder, in turn."""

import pytest
from verb_runs import SIZES, failure, run_printed

from gdino_lightning.cli import odinw


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_dataset_is_tested_in_its_own_words_and_the_average_printed(home):
    for seed, name in enumerate(("pets", "Aquarium")):
        run_printed("sample", "--root", f"drawn-{name}", "--num_images", "8", "--seed", str(seed))
        run_printed("prepare", "--source", f"drawn-{name}", "--root", f"wild/{name}", "--num_train", "2")
    table = home / "wild" / "Aquarium" / "test" / "annotations.csv"
    table.write_text(table.read_text().replace("with_mask", "fish"))  # of both classes with a mask in their name
    sizes = [f"--data.{key}={value}" for key, value in SIZES.items()]
    common = ["--model.weights=nano", "--data.num_workers=0", *sizes, "--trainer.accelerator=cpu"]
    printed = run_printed("test", "--protocol", "odinw", "--data.root", "wild", *common)
    assert "1 of 2: wild/Aquarium" in printed
    assert "2 of 2: wild/pets" in printed
    assert "\n| fish | " in printed
    rows = dict(line.strip("| ").split(" | ") for line in printed.splitlines()[-3:])
    assert list(rows) == ["Aquarium", "pets", "**all, average**"]
    assert float(rows["**all, average**"]) == pytest.approx(
        (float(rows["Aquarium"]) + float(rows["pets"])) / 2, abs=0.1
    )
    assert (home / "runs" / "odinw" / "pets" / "metrics.csv").is_file()


def test_each_dataset_may_have_a_checkpoint_of_its_own(home):
    asked = []

    def test(arguments):
        asked.append(arguments)
        return {"test/map": 0.1 * len(asked)}

    for name in ("b", "a"):
        (home / "wild" / name / "test").mkdir(parents=True)
        (home / "wild" / name / "test" / "annotations.csv").touch()
    printed = odinw.test_datasets(
        ["--protocol=odinw", "--data.root", "wild", "--ckpt_path", "runs/{}/best.ckpt", "--data.seed=1"], test
    )
    assert asked == [
        [
            "--ckpt_path",
            f"runs/{name}/best.ckpt",
            "--data.seed=1",
            "--run",
            f"runs/odinw/{name}",
            "--data.root",
            f"wild/{name}",
        ]
        for name in ("a", "b")
    ]
    assert printed.splitlines()[2:] == ["| a | 10.0 |", "| b | 20.0 |", "| **all, average** | 15.0 |"]


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "needs --data.root"), (["--data.root", "nowhere"], "holds no prepared dataset")]
)
def test_a_folder_without_datasets_is_told(home, capfd, arguments, said):
    assert said in failure(capfd, "test", "--protocol", "odinw", *arguments)
