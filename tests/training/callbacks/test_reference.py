"""The reference of a run: what is scored, when, with which weights, and that training does not notice."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from ranks import on_ranks

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.data.pictures import read_split
from gdino_lightning.errors import ConfigError, DatasetError, PromptError
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.training.callbacks import RampedEMA, Reference, ReferenceScore
from gdino_lightning.training.metrics_csv import MetricsCSVLogger, read_metrics
from gdino_lightning.training.module import GroundingDinoModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]
SIZES = {"short_side": 128, "long_side_max": 128, "canvas_multiple": 32, "num_workers": 0}
MAP, MAP_50 = "val/reference/map", "val/reference/map_50"


def module_of(weights: str = "nano", **settings: object) -> GroundingDinoModule:
    torch.manual_seed(0)
    return GroundingDinoModule(CLASSES, weights, warmup_steps=0, **settings)


def trainer_in(folder: Path, *callbacks: Callback, **settings: object) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": list(callbacks),
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "logger": MetricsCSVLogger(folder),
            "limit_train_batches": 1,
            "limit_val_batches": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            **settings,
        }
    )


def fit(folder: Path, root: Path, *callbacks: Callback, module: GroundingDinoModule | None = None, **settings: object):
    """Train on masks; return the module and the rows that were logged."""
    module = module or module_of()
    data = DetectionDataModule(str(root), CLASSES, batch_size=4, val=0.25, **SIZES)
    trainer_in(folder, *callbacks, **settings).fit(module, datamodule=data)
    return module, read_metrics(folder / "metrics.csv")[1]


def score_by_hand(module: GroundingDinoModule, split: Path, phrases: dict[str, str], names: set[str]) -> dict:
    """mAP of the module on some pictures of a split, each alone, asked for all phrases."""
    other = GroundingDinoModule(phrases, "nano", warmup_steps=0)
    other.detector = module.detector
    part = {"train": "val", "test": "test"}[split.name]
    data = DetectionDataModule(
        str(split.parent), phrases, eval_batch_size=1, val="test", evaluate_on_train=part == "val", **SIZES
    )
    data.setup("validate" if part == "val" else "test")
    metric = CocoMeanAveragePrecision(list(phrases))
    for batch in data.val_dataloader() if part == "val" else data.test_dataloader():
        if Path(batch.targets[0].image_path).name in names:
            metric.update(other.eval().detect(batch), batch.targets)
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.fixture
def labels(world: Path) -> dict[str, str]:
    """Every label of the world, which is its own wording."""
    found = {label for part in ("train", "test") for each in read_split(world / part) for label in each.labels}
    return {label: label for label in sorted(found)}


def names(split: Path) -> set[str]:
    return {picture.name for picture in read_split(split)}


@pytest.mark.slow
def test_validate_and_test_score_the_two_parts_as_a_model_of_those_classes_would(tmp_path, drawn, world, labels):
    module = module_of()
    data = DetectionDataModule(str(drawn), CLASSES, eval_batch_size=3, **SIZES)
    for stage, part in (("validate", "train"), ("test", "test")):
        trainer = trainer_in(tmp_path / stage, ReferenceScore(Reference(str(world))), limit_test_batches=1)
        (logged,) = getattr(trainer, stage)(module, datamodule=data, verbose=False)
        expected = score_by_hand(module, world / part, labels, names(world / part))
        assert expected["map_50"] > 0.2
        prefix = "val" if stage == "validate" else "test"
        assert logged[f"{prefix}/reference/map"] == pytest.approx(expected["map"], abs=1e-5)
        assert logged[f"{prefix}/reference/map_50"] == pytest.approx(expected["map_50"], abs=1e-5)


@pytest.mark.slow
def test_the_row_before_the_first_step_and_every_epoch_are_scored_and_logged(tmp_path, drawn, world, caplog):
    caplog.set_level("INFO", logger="gdino_lightning")
    reference = ReferenceScore(Reference(str(world), num_pictures=3))
    _, rows = fit(tmp_path, drawn, reference, max_epochs=2, num_sanity_val_steps=-1)
    scored = [(row["step"], row.get("epoch")) for row in rows if MAP in row]
    assert scored == [("0", "0"), ("0", "0"), ("1", "1")]
    assert "val/map" in rows[0]  # one row with the zero-shot scores of the classes
    assert all(0 <= float(row[MAP]) <= float(row[MAP_50]) <= 1 for row in rows if MAP in row)
    said = [record.message for record in caplog.records if MAP in record.message]
    assert [text.split(":")[0] for text in said] == ["before the first step", "epoch 0", "epoch 1"]
    assert f"{MAP} {float(rows[0][MAP]):.3f}, {MAP_50} {float(rows[0][MAP_50]):.3f}" in said[0]


@pytest.mark.slow
def test_epochs_between_are_left_out_but_not_the_last(tmp_path, drawn, world):
    reference = ReferenceScore(Reference(str(world), num_pictures=1, every_n_epochs=2))
    _, rows = fit(tmp_path, drawn, reference, max_epochs=3)
    assert [row["epoch"] for row in rows if MAP in row] == ["1", "2"]
    assert reference.metric_names() == []  # an epoch without a value cannot be monitored
    assert ReferenceScore(Reference(str(world))).metric_names() == [MAP, MAP_50]


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_averaged_weights_are_scored_wherever_the_callback_stands(tmp_path, drawn, world, labels, order):
    """An average that never moves is the model before training, whatever has been learned."""
    before = module_of(learning_rate=1e-2)
    chosen = names(world / "train")
    expected = score_by_hand(before, world / "train", labels, chosen)["map"]
    callbacks = [Still(), ReferenceScore(Reference(str(world)))][::order]
    _, rows = fit(tmp_path, drawn, *callbacks, module=before)
    assert [float(row[MAP]) for row in rows if MAP in row] == [pytest.approx(expected, abs=1e-5)]
    assert callbacks[::order][0].moved > 0


class Still(RampedEMA):
    """Averages nothing in, and notes how far the weights in training have moved away."""

    moved = 0.0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return False

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        pairs = zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True)
        self.moved = max(float((a - b).detach().abs().max()) for a, b in pairs)


def states() -> list[object]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


class Note(Callback):
    """Notes random states when an epoch and its validation are over."""

    def __init__(self) -> None:
        self.states: list[object] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GroundingDinoModule) -> None:
        self.states += states()


@pytest.mark.slow
def test_training_is_the_same_to_the_bit_and_draws_the_same_random_numbers(tmp_path, drawn, world):
    found = []
    for number, extra in enumerate([[], [ReferenceScore(Reference(str(world), num_pictures=2))]]):
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        module, note = module_of(dropout=0.1), Note()
        fit(tmp_path / str(number), drawn, *extra, note, module=module, max_epochs=2)
        found.append((module.state_dict(), note.states))
    (plain, plain_states), (watched, watched_states) = found
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert plain_states == watched_states


def test_a_fixed_number_of_pictures_is_drawn_and_boxes_of_other_labels_are_left_out(world):
    everything = {picture.name: picture for picture in read_split(world / "train")}
    some = Reference(str(world), num_pictures=5).pictures("train")
    assert len({picture.name for picture in some}) == 5
    assert [picture.name for picture in some] == [
        p.name for p in Reference(str(world), num_pictures=5).pictures("train")
    ]
    assert len(Reference(str(world)).pictures("train")) == 12
    assert len(Reference(str(world)).pictures("test")) == 8
    label = next(iter(everything.values())).labels[0]
    for picture in Reference(str(world), phrases=[label]).pictures("train"):
        whole = everything[picture.name]
        kept = [box.tolist() for box, name in zip(whole.boxes_px, whole.labels, strict=True) if name == label]
        assert picture.boxes_px.tolist() == kept
        assert picture.labels == (label,) * len(kept)


def test_phrases_are_all_labels_or_those_given(world, labels):
    assert Reference(str(world)).wordings() == labels
    assert Reference(str(world), {"cup": "a mug", "bottle": None}).wordings() == {"cup": "a mug", "bottle": "bottle"}


def without(part: str) -> Callable[[Path, Path], Path]:
    def copied(world: Path, home: Path) -> Path:
        shutil.copytree(world, home / "world", ignore=shutil.ignore_patterns(part))
        return home / "world"

    return copied


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda world, home: home / "nowhere", r"nowhere/train/annotations\.csv: no such table; reference\.root must"),
        (without("test"), r"world/test/annotations\.csv: no such table"),
    ],
)
def test_a_missing_folder_or_part_stops_before_any_step(tmp_path, drawn, world, monkeypatch, make, said):
    monkeypatch.setattr(GroundingDinoModule, "validation_step", None)
    root = make(world, tmp_path)
    with pytest.raises(DatasetError, match=said):
        fit(tmp_path, drawn, ReferenceScore(Reference(str(root))))


def test_a_phrase_of_no_label_and_the_dataset_of_the_run_are_refused(tmp_path, drawn, world):
    with pytest.raises(DatasetError, match=r"reference\.phrases: wombat: no box in .* has this label; there are "):
        fit(tmp_path, drawn, ReferenceScore(Reference(str(world), {"cup": None, "wombat": "a wombat"})))
    with pytest.raises(ConfigError, match=r"reference\.root is .*, as data\.root"):
        fit(tmp_path, drawn, ReferenceScore(Reference(str(drawn))))
    with pytest.raises(PromptError, match="share the wording"):
        Reference(str(world), {"cup": "a thing", "bottle": "a thing"})
    with pytest.raises(ConfigError, match=r"reference\.every_n_epochs is 0"):
        Reference(str(world), every_n_epochs=0)
    with pytest.raises(ConfigError, match=r"reference\.num_pictures is 0"):
        Reference(str(world), num_pictures=0)


def _validate_on_two(rank: int, folder: Path, root: str, world: str) -> dict[str, float]:
    settings = {"strategy": "ddp", "devices": 2, "logger": False}
    data = DetectionDataModule(root, CLASSES, batch_size=4, val=0.25, **SIZES)
    trainer = trainer_in(folder, ReferenceScore(Reference(world)), **settings)
    trainer.validate(module_of(), datamodule=data, verbose=False)
    return {name: float(trainer.callback_metrics[name]) for name in (MAP, MAP_50)}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_score_the_reference_as_one_does(tmp_path, drawn, world):
    trainer = trainer_in(tmp_path, ReferenceScore(Reference(str(world))))
    data = DetectionDataModule(str(drawn), CLASSES, batch_size=4, val=0.25, **SIZES)
    trainer.validate(module_of(), datamodule=data, verbose=False)
    alone = {name: float(trainer.callback_metrics[name]) for name in (MAP, MAP_50)}
    assert alone[MAP] > 0.1
    for scores in on_ranks(_validate_on_two, tmp_path, str(drawn), str(world)):
        assert scores == pytest.approx(alone, abs=1e-6)
