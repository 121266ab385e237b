import json
import logging
from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from voc_factory import png, write_files

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.table import CAPTIONS_NAME, COLUMNS
from gdino_lightning.errors import DatasetError

SIZES = [(60, 40), (40, 60), (60, 41), (50, 50)]
NAMES = {f"p{number:02}.png" for number in range(20)}
ONLY_CAPTIONED = {"p01.png", "p18.png", "p19.png"}  # in no row of the table
CAPTIONED = Counter([*NAMES, "p03.png"])  # how many captions each picture has


@pytest.fixture
def root(tmp_path):
    """20 training pictures with captions, and 17 of them with rows; 3 test pictures."""
    sizes = {name: SIZES[int(name[1:3]) % len(SIZES)] for name in sorted(NAMES)}
    rows = [f"cat,5,6,25,36,{name},{w},{h}" for name, (w, h) in sizes.items() if name not in ONLY_CAPTIONED]
    images = {f"train/images/{name}": png(*size, seed) for seed, (name, size) in enumerate(sizes.items())}
    images |= {f"test/images/t{number}.png": png(seed=number) for number in range(3)}
    tables = {
        "train/annotations.csv": "\n".join([",".join(COLUMNS), *rows]),
        "test/annotations.csv": "\n".join([",".join(COLUMNS), "cat,5,6,25,26,t0.png,40,30"]),
        f"train/{CAPTIONS_NAME}": "\n".join(caption_line(name) for name in sorted(CAPTIONED.elements())),
    }
    return write_files(tmp_path / "data", images | {name: text.encode() for name, text in tables.items()})


def caption_line(name):
    text = f"a face on {name} and a dog"
    dog = {"spans": [[len(text) - 5, len(text)]], "boxes": []}
    face = {"spans": [[0, 6]], "boxes": [[5, 6, 25, 36]]}
    return json.dumps({"image_name": name, "caption": text, "phrases": [dog, face]})


def make(root, **settings):
    sizing = {"short_side": 64, "long_side_max": 64, "canvas_multiple": 32, "num_workers": 0}
    return DetectionDataModule(str(root), **{"phrases": ["cat"], **sizing, **settings})


def loaders(root, **settings):
    data = make(root, **settings)
    data.setup("fit")
    return data.train_dataloader(), data.val_dataloader()


def by_kind(loader):
    """How often each picture comes with the class list, and how often with a caption."""
    kinds = Counter(), Counter()
    for batch in loader:
        for target in batch.targets:
            kinds[target.caption is not None][Path(target.image_path).name] += 1
    return kinds


def test_captions_are_trained_beside_the_class_list(root):
    train, _ = loaders(root, val="test")
    listed, told = by_kind(train)
    # a picture with a caption and without a row is no negative
    assert listed == Counter(NAMES - ONLY_CAPTIONED)
    assert told == CAPTIONED


def test_captioned_targets_have_the_boxes_and_phrases_of_their_line(root):
    train, _ = loaders(root, val="test", augmentation=None)
    targets = [target for batch in train for target in batch.targets if target.caption]
    assert len(targets) == 21
    for target in targets:
        name = Path(target.image_path).name
        assert target.caption.text == f"a face on {name} and a dog"
        assert [target.caption.phrases[label] for label in target.labels] == ["a face"]
        width, height = SIZES[int(name[1:3]) % len(SIZES)]
        expected = torch.tensor([[15 / width, 21 / height, 20 / width, 30 / height]])
        torch.testing.assert_close(target.boxes, expected)


def test_captions_of_held_out_pictures_are_not_trained_on(root):
    train, val = loaders(root, val=0.25)
    held_out, told = by_kind(val)
    assert len(held_out) == 4  # a quarter of the 17 pictures with rows
    assert not told
    listed, told = by_kind(train)
    assert set(listed) == NAMES - ONLY_CAPTIONED - set(held_out)
    assert set(told) == NAMES - set(held_out)


def test_pictures_that_only_captions_know_do_not_change_the_held_out_part(root):
    with_captions = by_kind(loaders(root)[1])
    (root / "train" / CAPTIONS_NAME).unlink()
    for name in ONLY_CAPTIONED:
        (root / "train" / "images" / name).unlink()
    assert by_kind(loaders(root)[1]) == with_captions


def test_the_limit_counts_pictures_and_keeps_all_their_captions(root):
    drawn = set()
    for seed in range(20):
        train, _ = loaders(root, val="test", limit_train_pictures=6, seed=seed)
        listed, told = by_kind(train)
        assert len(told) == 6
        assert set(listed) == set(told) - ONLY_CAPTIONED
        assert told == Counter({name: CAPTIONED[name] for name in told})
        drawn |= set(told)
    assert drawn == NAMES


def test_evaluation_uses_the_class_list_alone(root):
    (root / "test" / CAPTIONS_NAME).write_text("not read")
    data = make(root, evaluate_on_train=True, limit_train_pictures=6)
    plain = make(root, val="test")
    for module in (data, plain):
        module.setup("fit")
        module.setup("test")
    listed, _ = by_kind(data.train_dataloader())
    assert by_kind(data.val_dataloader()) == by_kind(data.test_dataloader()) == (listed, Counter())
    assert by_kind(plain.val_dataloader()) == (Counter(["t0.png", "t1.png", "t2.png"]), Counter())


def test_orders_and_draws_follow_from_the_seed(root):
    runs = [[batch for batch in loaders(root, seed=seed, val="test")[0]] for seed in (1, 1, 2)]
    order = [[(t.image_id, t.boxes.tolist()) for batch in run for t in batch.targets] for run in runs]
    assert order[0] == order[1] != order[2]
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(*runs[:2], strict=True))


def test_how_many_captions_are_trained_on_is_logged_once(root, caplog):
    with caplog.at_level(logging.INFO):
        train, _ = loaders(root, val=0.25)
    (line,) = [record.getMessage() for record in caplog.records if CAPTIONS_NAME in record.getMessage()]
    count = sum(by_kind(train)[1].values())
    assert 16 <= count <= 17  # 4 pictures are held out, one of all has two
    assert line == f"{root / 'train' / CAPTIONS_NAME}: {count} of 21 captions to train on, with {count} boxes"


def test_without_captions_nothing_is_logged(root, caplog):
    (root / "train" / CAPTIONS_NAME).unlink()
    with caplog.at_level(logging.INFO):
        loaders(root)
    assert CAPTIONS_NAME not in caplog.text


def test_a_broken_caption_stops_the_run_before_it_starts(root):
    with (root / "train" / CAPTIONS_NAME).open("a") as file:
        file.write('\n{"image_name": "p00.png", "caption": "a face"}\n')
    with pytest.raises(DatasetError, match=r"captions\.jsonl:22: key phrases is missing"):
        make(root).setup("fit")


class Recorder(LightningModule):
    """Takes no real step, and counts the samples it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        return self.weight * batch.pixels.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_trainer_takes_captions_and_class_lists_in_one_batch(root):
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Recorder()
    trainer.fit(model, make(root, val="test", batch_size=8, num_workers=1))
    assert by_kind(model.batches) == (Counter(NAMES - ONLY_CAPTIONED), CAPTIONED)
    mixed = [batch for batch in model.batches if len({target.caption is None for target in batch.targets}) == 2]
    assert mixed
