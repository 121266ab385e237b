"""`gdino train`, as typed: from a folder of labelled pictures to an exported model, and on where it was stopped."""

import pytest
from verb_runs import failure, rows, run_printed

from gdino_lightning.cli import main, train_verb

PICTURES = 16
SMALL = ["--weights", "nano", "--epochs", "1"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_printed("sample", "--root", "pets", "--num_images", str(PICTURES))
    return tmp_path


def planned(*arguments):
    """The last line but what `train` goes on with: where the recipe was written."""
    printed = run_printed("train", "pets", "--weights", "nano", "--plan_only", *arguments)
    return printed.splitlines()[-1]


def test_train_goes_from_a_folder_to_an_exported_model_and_repeats_nothing(home):
    printed = run_printed("train", "pets", *SMALL)
    steps = [line for line in printed.splitlines() if " of 4: gdino " in line]
    assert [line.split()[4] for line in steps] == ["fit", "select", "test", "export"]
    recipe = home / "data" / "pets" / "train.yaml"
    assert recipe.read_text() in printed
    run = home / "runs" / "pets"
    assert (run / "report" / "report.html").is_file()
    assert (run / "thresholds.json").is_file()
    assert any(row.get("test/map") for row in rows(run))
    run_printed("detect", "--weights", str(run / "exported"), "--source", "pets/images", "--output", "found")
    assert (home / "found" / "detections.csv").is_file()
    before = (run / "metrics.csv").read_bytes()
    again = run_printed("train", "pets", *SMALL)
    assert "runs/pets has this recipe and is finished" in again
    assert " of 4: gdino " not in again
    assert (run / "metrics.csv").read_bytes() == before


def test_what_was_stopped_goes_on_in_the_same_run(home, monkeypatch, capfd):
    run_verb = train_verb.run_verb

    def stopped(verb, rest):
        if verb == "select":
            raise KeyboardInterrupt
        return run_verb(verb, rest)

    monkeypatch.setattr(train_verb, "run_verb", stopped)
    assert main(["train", "pets", *SMALL]) == 130
    assert "the same `gdino train` goes on" in capfd.readouterr().err
    epochs = [row["epoch"] for row in rows(home / "runs" / "pets") if row.get("train/loss")]
    monkeypatch.undo()
    monkeypatch.chdir(home)
    printed = run_printed("train", "pets", *SMALL)
    assert "1 of 4: gdino fit --ckpt_path runs/pets/checkpoints/last.ckpt" in printed
    assert [row["epoch"] for row in rows(home / "runs" / "pets") if row.get("train/loss")] == epochs
    assert (home / "runs" / "pets" / "exported").is_dir()
    assert not (home / "runs" / "pets-2").exists()


def test_a_recipe_is_chosen_once_and_one_that_was_changed_by_hand_is_kept(home):
    first, again = planned(), planned()
    assert "data/pets/train.yaml" in first
    assert first == again
    changed = home / "data" / "pets" / "train.yaml"
    changed.write_text(changed.read_text() + "# mine\n")
    assert "data/pets/train-2.yaml" in planned()
    assert changed.read_text().endswith("# mine\n")


def test_corrected_labels_are_another_recipe(home):
    planned()
    table = home / "data" / "pets" / "train" / "annotations.csv"
    head, _, *others = table.read_text().splitlines()
    table.write_text("\n".join([head, *others]) + "\n")
    printed = run_printed("train", "data/pets", "--weights", "nano", "--plan_only")
    assert "data/pets/train-2.yaml" in printed.splitlines()[-1]


def test_wordings_are_taken_from_a_file_or_from_text_that_names_each_class(home):
    (home / "words.yaml").write_text(
        "with_mask: face in a mask\nwithout_mask: bare face\nmask_weared_incorrect: nose\n"
    )
    printed = run_printed("train", "pets", "--weights", "nano", "--plan_only", "--phrases", "words.yaml")
    assert "    with_mask: face in a mask\n" in printed
    text = "with mask . without mask . mask weared incorrect"
    assert "with_mask: with mask" in run_printed("train", "pets", "--plan_only", "--phrases", text)


def test_a_prepared_folder_is_taken_as_it_is(home):
    run_printed("prepare", "--source", "pets", "--root", "made", "--num_train", "10")
    before = (home / "made" / "prepare.json").read_bytes()
    printed = run_printed("train", "made", "--weights", "nano", "--plan_only")
    assert "for 10 training pictures" in printed
    assert (home / "made" / "prepare.json").read_bytes() == before
    assert not (home / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder or file"),
        (["pets", "--epochs", "0"], "--epochs is 0, expected at least 1"),
        (["pets", "--phrases", "cat . dog"], "no wording for mask_weared_incorrect, with_mask, without_mask"),
        (["pets", "--phrases", "words.yaml"], "words.yaml: no such file"),
        (["pets", "--format", "yolo"], "does not look like yolo"),
        (["pets", "--weights", "no/such/weights"], "no/such/weights"),
        ([], "required: PATH"),
    ],
    ids=["folder", "epochs", "phrases", "file of phrases", "format", "weights", "nothing"],
)
def test_what_cannot_be_trained_says_why(home, capfd, arguments, said):
    assert said in failure(capfd, "train", *arguments)


def test_captions_alone_are_sent_elsewhere(home, capfd):
    table = home / "captions" / "train" / "annotations.csv"
    run_printed("prepare", "--source", "pets", "--root", "captions", "--num_train", "10")
    for split in ("train", "test"):
        (table.parents[1] / split / "annotations.csv").write_text(f"{table.read_text().splitlines()[0]}\n")
        (table.parents[1] / split / "captions.jsonl").write_text("")
    assert "captions: no box with a class" in failure(capfd, "train", "captions", "--weights", "nano")


def test_one_picture_of_training_data_says_that_it_is_too_few(home, capfd):
    run_printed("sample", "--root", "two", "--num_images", "2")
    assert "use more pictures" in failure(capfd, "train", "two", *SMALL)
    assert not (home / "runs" / "two" / "config.yaml").exists()
