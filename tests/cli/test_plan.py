"""The settings that `gdino train` chooses for a dataset and a machine, and that `fit` takes them."""

from dataclasses import replace

import pytest
import yaml
from verb_runs import run_printed

from gdino_lightning.cli.plan import Facts, plan
from gdino_lightning.training.callbacks import AutoBatch, Calibrate, EpochCheckpoints, GuardedEarlyStopping, RampedEMA

FACTS = Facts(
    root="data/pets",
    data="0123abcd",
    run="runs/pets",
    weights="IDEA-Research/grounding-dino-tiny",
    phrases={"cat": "cat", "guide_dog": "guide dog"},
    pictures=600,
    has_val=False,
    pixels=600 * 640 * 480,
    gpu_gb=0,
    bf16=False,
    memory_gb=16,
    cores=8,
)


def chosen(**facts):
    return yaml.safe_load(plan(replace(FACTS, **facts)))


def callbacks(settings):
    return [each["class_path"].rpartition(".")[2] for each in settings["trainer"]["callbacks"]]


def test_settings_of_some_hundred_pictures_are_the_published_ones():
    settings = chosen()
    assert settings["run"] == "runs/pets"
    assert settings["data"]["root"] == "data/pets"
    assert settings["data"]["val"] == 0.1
    assert settings["model"]["phrases"] == {"cat": "cat", "guide_dog": "guide dog"}
    assert settings["model"]["learning_rate"] == 1e-4
    assert settings["model"]["freeze"] == ["text_encoder"]
    assert settings["model"]["lr_multipliers"] == {"backbone": 0.1}
    assert settings["data"]["batch_size"] == 8
    assert settings["trainer"]["max_epochs"] == 15
    assert settings["trainer"]["precision"] == "32-true"
    names = {GuardedEarlyStopping.__name__, Calibrate.__name__, EpochCheckpoints.__name__}
    assert names <= set(callbacks(settings))


def test_fewer_than_200_pictures_keep_the_backbone_and_hold_out_more_of_them():
    tiny, more = chosen(pictures=199), chosen(pictures=200)
    assert tiny["model"]["freeze"] == ["text_encoder", "backbone"]
    assert more["model"]["freeze"] == ["text_encoder"]
    assert "official paper" not in plan(replace(FACTS, pictures=199)).split("lr_multipliers")[1].splitlines()[0]
    assert (tiny["data"]["val"], more["data"]["val"]) == (0.2, 0.1)


@pytest.mark.parametrize(
    ("pictures", "epochs"), [(3, 150), (40, 75), (190, 20), (600, 15), (9_999, 15), (10_000, 12), (100_000, 12)]
)
def test_epochs_are_the_published_number_and_never_fewer_than_300_steps(pictures, epochs):
    assert chosen(pictures=pictures)["trainer"]["max_epochs"] == epochs


def test_epochs_that_were_asked_for_are_taken():
    assert chosen(pictures=40, epochs=2)["trainer"]["max_epochs"] == 2


def test_a_val_split_of_the_dataset_is_used_as_it_is():
    assert chosen(has_val=True)["data"]["val"] == "val"


def test_a_gpu_takes_full_size_bf16_and_the_largest_batch_that_fits():
    settings = chosen(gpu_gb=80, bf16=True)
    assert (settings["trainer"]["accelerator"], settings["trainer"]["precision"]) == ("gpu", "bf16-mixed")
    assert (settings["data"]["short_side"], settings["data"]["long_side_max"]) == (800, 1333)
    assert chosen(gpu_gb=16)["trainer"]["precision"] == "16-mixed"
    assert AutoBatch.__name__ in callbacks(settings)
    assert "gradient_checkpointing" not in settings["model"]
    assert chosen(gpu_gb=16)["model"]["gradient_checkpointing"] is True


def test_the_miniature_learns_with_all_its_parts_at_its_own_size_and_rate():
    settings = chosen(weights="nano", gpu_gb=16)
    assert settings["model"]["freeze"] == []
    assert settings["model"]["learning_rate"] == 1e-3
    assert settings["data"]["short_side"] == 192
    assert RampedEMA.__name__ in callbacks(settings)
    assert AutoBatch.__name__ not in callbacks(settings)


def test_many_classes_are_sampled():
    classes = {f"thing_{index}": f"thing {index}" for index in range(81)}
    assert chosen(phrases=classes)["model"]["negatives"] == 20
    assert "negatives" not in chosen()["model"]


def test_pictures_are_cached_where_a_quarter_of_the_memory_holds_them():
    decoded_gb = 3 * FACTS.pixels / 1e9
    assert chosen(memory_gb=4.1 * decoded_gb)["data"]["cache"] is True
    assert chosen(memory_gb=3.9 * decoded_gb)["data"]["cache"] is False


def test_each_key_has_its_reason_beside_it():
    for line in plan(FACTS).splitlines():
        if line.startswith("  ") and not line.startswith("    "):
            assert "  # " in line, line


def test_text_is_read_back_as_it_was_given():
    odd = {"no": "no", "1": "1", "a: b # c": "ä 'b' \"c\"", "null": "null", "long": "word " * 60 + "end"}
    settings = chosen(phrases=odd, root="data/a: b", weights="my weights/#1")
    assert settings["model"]["phrases"] == odd
    assert (settings["data"]["root"], settings["model"]["weights"]) == ("data/a: b", "my weights/#1")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"gpu_gb": 16, "has_val": True},
        {"weights": "nano", "pictures": 20},
        {"phrases": {f"thing_{index}": f"thing {index}" for index in range(81)}},
    ],
    ids=["processor", "gpu", "nano", "many classes"],
)
def test_fit_takes_what_is_chosen(tmp_path, facts):
    recipe = tmp_path / "train.yaml"
    recipe.write_text(plan(replace(FACTS, **facts)))
    complete = yaml.safe_load(run_printed("fit", "--config", str(recipe), "--print_config"))
    settings = chosen(**facts)
    for section in ("model", "data"):
        assert {key: complete[section][key] for key in settings[section]} == settings[section]
    assert [each["class_path"] for each in complete["trainer"]["callbacks"]] == [
        each["class_path"] for each in settings["trainer"]["callbacks"]
    ]
