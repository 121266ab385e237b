import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import prepared_factory
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from gdino_lightning.data import datamodule as datamodule_file
from gdino_lightning.data import pictures
from gdino_lightning.data.batch import Batch
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.fields import COLUMNS
from gdino_lightning.data.mixed import MixedSet
from gdino_lightning.data.sample import draw_sample
from gdino_lightning.data.split import hold_out
from gdino_lightning.errors import ConfigError, DatasetError

PHRASES = {"with_mask": "with mask", "without_mask": "without mask"}
SIZES = [(60, 40), (40, 60), (60, 41), (50, 50)]


def write_split(folder, count):
    (folder / "images").mkdir(parents=True)
    rows = [",".join(COLUMNS)]
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        name = f"{folder.name}{number:02}.png"
        Image.fromarray(np.full((height, width, 3), 10 * number, np.uint8)).save(folder / "images" / name)
        if number != 1:  # one negative
            rows.append(f"with_mask,5,6,25,36,{name},{width},{height}")
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path / "data" / "train", 20)
    write_split(tmp_path / "data" / "test", 7)
    return tmp_path / "data"


def make(root, **settings):
    defaults = {
        "phrases": PHRASES,
        "short_side": 64,
        "long_side_max": 64,
        "canvas_multiple": 32,
        "num_workers": 0,
    }
    return DetectionDataModule(str(root), **{**defaults, **settings})


def names(loader):
    """File names by the order of the batches."""
    return [Path(target.image_path).name for batch in loader for target in batch.targets]


def loaders(root, **settings):
    data = make(root, **settings)
    data.setup("fit")
    return data.train_dataloader(), data.val_dataloader()


def all_names(split, count):
    return [f"{split}{number:02}.png" for number in range(count)]


def test_validation_is_held_out_of_the_training_pictures(root):
    train, val = loaders(root, val=0.25)
    assert len(names(val)) == 5
    assert sorted(names(train) + names(val)) == all_names("train", 20)


def test_the_held_out_part_follows_from_its_seed(root):
    assert sorted(names(loaders(root)[1])) == sorted(names(loaders(root)[1]))
    parts = {tuple(sorted(names(loaders(root, val_seed=seed)[1]))) for seed in range(4)}
    assert len(parts) > 1


@pytest.fixture
def uneven(tmp_path):
    """40 training pictures of a common class; a fifth of them have a rare one as well."""
    common, rare = ("with_mask", (1, 1, 9, 9)), ("without_mask", (5, 5, 20, 20))
    boxes = {f"p{number:02}.png": [common, rare][: 1 + (number % 5 == 0)] for number in range(40)}
    prepared_factory.write_split(tmp_path / "data" / "train", boxes)
    prepared_factory.write_split(tmp_path / "data" / "test", {"p00.png": [common]})
    return tmp_path / "data"


@pytest.mark.parametrize("seed", range(4))
def test_the_held_out_part_has_its_share_of_a_rare_class(uneven, seed):
    """A fourth of the pictures, and so 2 of the 8 with the rare class, whatever the seed."""
    _, val = loaders(uneven, val=0.25, val_seed=seed)
    labels = Counter(label for batch in val for target in batch.targets for label in target.labels.tolist())
    assert labels == {0: 10, 1: 2}


def test_a_random_part_is_that_of_the_names_alone(uneven):
    parts = [names(loaders(uneven, val=0.25, val_seed=seed, val_split="random")[1]) for seed in range(6)]
    assert [sorted(part) for part in parts] == [hold_out(all_names("p", 40), 0.25, seed)[1] for seed in range(6)]
    assert {sum(int(name[1:3]) % 5 == 0 for name in part) for part in parts} != {2}  # the share is up to chance


def test_validation_on_the_test_split(root):
    train, val = loaders(root, val="test")
    assert sorted(names(train)) == all_names("train", 20)
    assert sorted(names(val)) == all_names("test", 7)


def test_a_val_split_validates_where_there_is_one(root):
    write_split(root / "val", 3)
    train, val = loaders(root)
    assert sorted(names(train)) == all_names("train", 20)
    assert sorted(names(val)) == all_names("val", 3)
    assert sorted(names(loaders(root, val="val")[1])) == all_names("val", 3)
    assert len(names(loaders(root, val=0.25)[1])) == 5
    assert sorted(names(loaders(root, val="test")[1])) == all_names("test", 7)


def test_a_val_split_that_is_asked_for_and_missing_is_named(root):
    with pytest.raises(DatasetError, match=r"data/val/annotations\.csv: cannot be read"):
        loaders(root, val="val")


def test_few_pictures_to_overfit(root):
    data = make(root, limit_train_pictures=3, evaluate_on_train=True)
    data.setup("fit")
    data.setup("test")
    trained = sorted(names(data.train_dataloader()))
    assert len(trained) == 3
    assert sorted(names(data.val_dataloader())) == trained
    assert sorted(names(data.test_dataloader())) == trained
    assert all(target.boxes_px is not None for batch in data.val_dataloader() for target in batch.targets)


def test_few_shots_train_and_the_validation_part_stays(root):
    train, val = loaders(root, shots=3, val=0.25)
    assert len(names(train)) == 3
    assert set(names(train)) <= set(names(loaders(root, val=0.25)[0]))
    assert names(val) == names(loaders(root, val=0.25)[1])
    assert names(loaders(root, shots=3, val=0.25)[0]) == names(train)
    assert names(loaders(root, shots=3, val=0.25, seed=1)[0]) != names(train)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shots": 3, "limit_train_pictures": 3}, "both choose the training pictures: set one"),
        ({"shots": 0}, "data.shots is 0; expected 1 or more"),
    ],
)
def test_shots_that_cannot_be(root, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(root, **settings)


def test_negatives_are_kept(root):
    train, _ = loaders(root, val="test")
    counts = {Path(t.image_path).name: len(t.boxes) for batch in train for t in batch.targets}
    assert counts["train01.png"] == 0
    assert sum(counts.values()) == 19


def test_image_ids_are_the_places_in_the_split(root):
    data = make(root)
    data.setup("predict")
    ids = {t.image_id: Path(t.image_path).name for batch in data.predict_dataloader() for t in batch.targets}
    assert ids == dict(enumerate(all_names("test", 7)))


def test_training_draws_its_scales(root):
    train, _ = loaders(root, short_side=64, long_side_max=128, train_short_sides=[32, 96], batch_size=1)
    sides = {min(batch.pixels.shape[-2:]) for batch in train}
    assert sides == {32, 96}


class Recorder(LightningModule):
    """Takes no real step, and records which pictures came in which epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[list[str]]] = {"train": [[]], "val": [[]], "test": [[]]}

    def record(self, part: str, batch: Batch) -> None:
        self.seen[part][-1] += [Path(target.image_path).name for target in batch.targets]

    def training_step(self, batch, batch_idx):
        self.record("train", batch)
        return self.weight * batch.pixels.mean()

    def validation_step(self, batch, batch_idx):
        self.record("val", batch)

    def test_step(self, batch, batch_idx):
        self.record("test", batch)

    def predict_step(self, batch, batch_idx):
        return [target.image_id for target in batch.targets]

    def on_train_epoch_end(self):
        for part in self.seen.values():
            part.append([])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_trainer_sees_every_picture_once_in_each_epoch(root):
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data, model = make(root, num_workers=1, val=0.25), Recorder()
    trainer.fit(model, data)
    first, second = model.seen["train"][:2]
    assert sorted(first) == sorted(second)
    assert first != second
    assert sorted(first + model.seen["val"][0]) == all_names("train", 20)
    assert model.seen["val"][0] == model.seen["val"][1]
    trainer.test(model, data, verbose=False)
    assert sorted(model.seen["test"][-1]) == all_names("test", 7)
    predictions = trainer.predict(model, data)
    assert sorted(image_id for batch in predictions for image_id in batch) == list(range(7))


def test_overfit_batches_is_refused(root):
    data = make(root)
    data.trainer = Trainer(overfit_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ConfigError, match="limit_train_pictures"):
        data.setup("fit")


def test_labels_that_are_no_class_are_listed(root):
    with pytest.raises(DatasetError, match=r"annotations\.csv: labels with_mask .* which are without_mask, hat;"):
        make(root, phrases=["without_mask", "hat"]).setup("fit")


def test_classes_without_a_box_are_warned_of(root, caplog):
    with caplog.at_level(logging.WARNING):
        make(root).setup("fit")
    assert "no box of the classes: without_mask" in caplog.text


def test_no_classes_are_refused(root):
    with pytest.raises(ConfigError, match=r"model\.phrases"):
        make(root, phrases=None).setup("fit")


@pytest.mark.parametrize("text", ["{yes: a face, no: no face}", "[mask, off]", "{1: one}"])
def test_yaml_words_that_are_no_text_are_explained(root, text):
    with pytest.raises(DatasetError, match="quotes"):
        make(root, phrases=yaml.safe_load(text))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"eval_batch_size": -1},
        {"eval_batch_size": 0},
        {"train_short_sides": [0]},
        {"limit_train_pictures": 0},
        {"num_workers": -1},
    ],
)
def test_settings_out_of_range_are_refused(root, settings):
    with pytest.raises(ConfigError, match=rf"^data\.{next(iter(settings))} is "):
        make(root, **settings)


@pytest.mark.parametrize("val", [1.5, 0, -1])
def test_an_impossible_validation_part_names_its_key(root, val):
    with pytest.raises(DatasetError, match=rf"^data\.val is {val}: "):
        make(root, val=val).setup("fit")


def test_hyper_parameters_load_without_code(root, tmp_path):
    torch.save(dict(make(root).hparams), tmp_path / "hparams.pt")
    loaded = torch.load(tmp_path / "hparams.pt", weights_only=True)
    assert loaded["phrases"] == PHRASES
    assert loaded["root"] == str(root)


def test_missing_tables_without_a_source_name_the_command(tmp_path):
    with pytest.raises(DatasetError, match=r"gdino prepare --source PATH --root .*/data/mine"):
        make(tmp_path / "data" / "mine").prepare_data()


def test_tables_are_made_from_the_source_once(tmp_path, monkeypatch):
    draw_sample(tmp_path / "source", num_images=6, progress=False)
    data = make(tmp_path / "made", source=str(tmp_path / "source"), num_train=4, val="test")
    data.prepare_data()
    assert len(list((tmp_path / "made" / "train" / "images").iterdir())) == 4
    assert len(list((tmp_path / "made" / "test" / "images").iterdir())) == 2

    def refuse(*_, **__):
        raise AssertionError("prepared twice")

    monkeypatch.setattr(datamodule_file, "prepare", refuse)
    data.prepare_data()


def test_the_sample_is_drawn_beside_the_root(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(datamodule_file, "draw_sample", lambda root: calls.append(("draw", root)))
    monkeypatch.setattr(datamodule_file, "prepare", lambda source, root, **_: calls.append(("prepare", source, root)))
    make(tmp_path / "faces", source="sample").prepare_data()
    drawn = tmp_path / "faces-source"
    assert calls == [("draw", drawn), ("prepare", drawn, tmp_path / "faces")]


def test_large_tables_are_packed_before_any_process_reads_them_and_again_where_they_were_edited(root, monkeypatch):
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)
    make(root).prepare_data()
    monkeypatch.setattr(pictures, "scan_table", lambda *_: pytest.fail("a table was read"))
    module = make(root)
    module.prepare_data()
    module.setup("fit")
    monkeypatch.undo()
    monkeypatch.setattr(pictures, "_LARGE_BYTES", 0)
    table = root / "train" / "annotations.csv"
    table.write_text(table.read_text().replace("with_mask", "dog", 1))
    edited = make(root)
    edited.prepare_data()
    with pytest.raises(DatasetError, match="labels dog are no classes"):
        edited.setup("fit")


@pytest.fixture
def further(tmp_path):
    write_split(tmp_path / "more" / "train", 12)
    table = tmp_path / "more" / "train" / "annotations.csv"
    table.write_text(table.read_text().replace("with_mask", "guide_dog"))
    return str(tmp_path / "more")


def test_a_further_set_is_asked_for_its_own_classes_in_its_share_of_the_epochs(root, further):
    module = make(root, mix=[MixedSet(further, weight=0.5)], augmentation=None)
    module.prepare_data()
    module.setup("fit")
    assert module.further_phrases == [("guide dog",)]
    loader = module.train_dataloader()
    seen = Counter()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        targets = [target for batch in batches for target in batch.targets]
        own = [target for target in targets if target.phrases is None]
        others = [target for target in targets if target.phrases == ("guide dog",)]
        assert (len(own), len(others)) == (18, 6)
        assert all(target.labels.tolist() in ([0], []) for target in others)
        assert all("more/train" in target.image_path for target in others)
        assert len({target.image_id for target in targets}) == 24
        seen.update(Path(target.image_path).name for target in others)
    assert seen == dict.fromkeys((f"train{number:02}.png" for number in range(12)), 1)


def test_a_further_set_neither_validates_nor_tests_and_belongs_to_what_was_trained_on(root, further):
    plain, mixed = make(root), make(root, mix=[MixedSet(further)])
    for module in (plain, mixed):
        module.setup("fit")
        module.setup("test")
    assert names(plain.val_dataloader()) == names(mixed.val_dataloader())
    assert names(plain.test_dataloader()) == names(mixed.test_dataloader())
    assert mixed.state_dict()["trained_on"]["pictures"] == plain.state_dict()["trained_on"]["pictures"] + 12
    assert len(mixed.demands()) == len(plain.demands()) + 12
    with pytest.raises(DatasetError, match="not the data that the checkpoint was trained on"):
        mixed.load_state_dict(plain.state_dict())


def test_captions_of_a_further_set_are_trained_in_its_share(root, further):
    phrases = [{"spans": [[0, 5]], "boxes": [[1, 2, 9, 9]]}]
    words = ("dog", "cat", "cow", "hen")
    lines = [{"image_name": "train00.png", "caption": f"a {word}", "phrases": phrases} for word in words]
    (Path(further) / "train" / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    module = make(root, mix=[MixedSet(further, weight=0.5)])
    module.setup("fit")
    assert len(module.captions) == 4
    loader = module.train_dataloader()
    texts = Counter()
    for epoch in range(8):
        loader.sampler.set_epoch(epoch)
        texts.update(target.caption.text for batch in loader for target in batch.targets if target.caption)
    assert set(texts) == {f"a {word}" for word in words}
    assert all(3 <= count <= 5 for count in texts.values())


def test_problems_of_a_further_set_are_told_with_those_of_the_own_one(root, further):
    away = make(root, mix=[MixedSet(str(root / "nowhere"))])
    away.prepare_data()
    away.setup("test")  # which needs nothing of it
    with pytest.raises(DatasetError, match=r"no such table; data\.mix wants folders"):
        away.setup("fit")
    (root / "train" / "images" / "train03.png").unlink()
    (Path(further) / "train" / "images" / "train04.png").unlink()
    with pytest.raises(DatasetError) as raised:
        make(root, mix=[MixedSet(further)]).setup("fit")
    assert "train03.png" in str(raised.value)
    assert "train04.png" in str(raised.value)
