"""Drawn scenes as training and evaluation data, compared with scenes that are drawn here once more."""

import pickle
from itertools import chain

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from verb_runs import CLASSES

from gdino_lightning.data import batch as batch_file
from gdino_lightning.data.batch import Batch, Request, Target
from gdino_lightning.data.canvas import IMAGENET_MEAN, IMAGENET_STD, Sizing
from gdino_lightning.data.scenes import SceneDataset, WorldDataModule
from gdino_lightning.data.world import (
    COLOURS,
    KINDS,
    TEXTURES,
    Phrase,
    Relation,
    Scene,
    Split,
    draw_scene,
    matches,
    may_match,
    vocabulary,
)
from gdino_lightning.errors import ConfigError
from tests.conftest import PHRASES
from tests.data.test_world import HEAD

SEED = 5
KIND_NAMES = sorted(KINDS)  # another order than the world's own
FEW = {"num_train": 12, "num_val": 6, "negatives": 10, "batch_size": 2, "seed": SEED}
SMALL = {"short_side": 96, "long_side_max": 120}


def world(**settings) -> WorldDataModule:
    return WorldDataModule(**{"phrases": KIND_NAMES, **FEW, **SMALL, **settings})


def batches(data: WorldDataModule, part: str = "train", epoch: int = 0) -> list[Batch]:
    loader = getattr(data, f"{part}_dataloader")()
    loader.sampler.set_epoch(epoch)  # as Lightning does
    return list(loader)


def targets(data: WorldDataModule, part: str = "train", epoch: int = 0) -> list[Target]:
    return list(chain.from_iterable(batch.targets for batch in batches(data, part, epoch)))


def drawn_again(target: Target, split: Split) -> Scene:
    return draw_scene(SEED, target.image_id, split, (target.height, target.width))


def structure(text: str) -> Phrase:
    """A phrase read from its words."""
    size, texture, colour, kind, side, other_colour, other_kind = HEAD.fullmatch(text).groups()
    return Phrase(kind, colour, texture, size, side and Relation(side, other_kind, other_colour))


def corners(target: Target) -> np.ndarray:
    """(N, 4) xyxy_px, from the normalised boxes by hand."""
    cx, cy, w, h = (target.boxes.double().numpy() * [target.width, target.height, target.width, target.height]).T
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)


def boxes_of(scene: Scene, things: tuple[int, ...]) -> np.ndarray:
    return np.array([scene.objects[index].box_px for index in things]).reshape(-1, 4)


@pytest.fixture(scope="module")
def trained() -> list[Target]:
    """Two epochs."""
    data = world(num_train=24, train_short_sides=[96, 128])
    return targets(data) + targets(data, epoch=1)


def test_each_true_phrase_has_the_boxes_of_the_things_it_is_true_of(trained):
    relations = 0
    for target in trained:
        scene = drawn_again(target, "train")
        assert len(target.boxes) == len(scene.objects) == len(target.labels)
        for label in sorted(set(target.labels.tolist())):
            phrase = structure(target.phrases[label])
            relations += phrase.relation is not None
            found = corners(target)[target.labels.numpy() == label]
            assert found == pytest.approx(boxes_of(scene, matches(phrase, scene)), abs=1e-3)
            assert may_match(phrase, scene) == matches(phrase, scene)
    assert relations > 3


def test_the_other_phrases_match_nothing_and_are_as_many_as_wanted(trained):
    for target in trained:
        scene = drawn_again(target, "train")
        absent = [text for label, text in enumerate(target.phrases) if label not in target.labels]
        assert len(absent) == FEW["negatives"]
        assert len(set(target.phrases)) == len(target.phrases)
        assert [text for text in absent if may_match(structure(text), scene)] == []


def test_training_shows_and_says_nothing_that_is_held_out(trained):
    for target in trained:
        shown = [Phrase(thing.kind, thing.colour, thing.texture) for thing in drawn_again(target, "train").objects]
        assert [phrase.text for phrase in shown if phrase.held_out] == []
        assert [text for text in target.phrases if structure(text).held_out] == []


def test_training_targets_are_no_ground_truth_for_scores(trained):
    assert {target.boxes_px for target in trained} == {None}
    assert trained[0].image_path == f"scene {trained[0].image_id} of 'train', seed {SEED}"


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_no_scene_comes_twice_over_epochs_and_ranks(monkeypatch, world_size):
    drawn = []
    for rank in range(world_size):
        monkeypatch.setattr(batch_file, "_rank_and_world_size", lambda rank=rank: (rank, world_size))
        data = world()
        drawn += [target.image_id for epoch in range(3) for target in targets(data, epoch=epoch)]
    assert sorted(drawn) == list(range(3 * FEW["num_train"]))


def test_an_epoch_is_the_same_for_a_new_process():
    one, other = (
        batches(world(train_short_sides=[96, 112]), epoch=4),
        batches(world(train_short_sides=[96, 112]), epoch=4),
    )
    assert [batch.targets[0].phrases for batch in one] == [batch.targets[0].phrases for batch in other]
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_another_seed_is_another_world():
    one, other = (next(iter(batches(world(seed=seed)))) for seed in (1, 2))
    assert not torch.equal(one.pixels, other.pixels)


def test_worker_processes_draw_what_the_main_process_draws():
    own, theirs = world(), world(num_workers=2)
    loader = theirs.train_dataloader()
    for epoch in (0, 1):  # the workers live on
        loader.sampler.set_epoch(epoch)
        for a, b in zip(batches(own, epoch=epoch), loader, strict=True):
            assert torch.equal(a.pixels, b.pixels)
            assert [t.phrases for t in a.targets] == [t.phrases for t in b.targets]


def test_a_data_set_survives_the_way_to_a_spawned_worker():
    request = Request(3, 2, Sizing(96, 120, 32), (128, 96))
    dataset = SceneDataset("train", 12, seed=SEED, negatives=4)
    mine, theirs = dataset.sample(request), pickle.loads(pickle.dumps(dataset)).sample(request)
    assert torch.equal(mine.pixels, theirs.pixels)
    assert mine.target.phrases == theirs.target.phrases


def test_validation_asks_for_kinds_and_has_a_box_for_each_thing():
    for target in targets(world(eval_batch_size=4), "val"):
        scene = drawn_again(target, "seen")
        everything = boxes_of(scene, tuple(range(len(scene.objects))))
        assert target.phrases is None
        assert [KIND_NAMES[label] for label in target.labels] == [thing.kind for thing in scene.objects]
        assert target.boxes_px.numpy() == pytest.approx(everything, abs=1e-3)
        assert corners(target) == pytest.approx(everything, abs=1e-3)


def test_things_of_other_kinds_than_the_classes_have_no_box():
    everything = {target.image_id: target for target in targets(world(), "val")}
    kinds = [KIND_NAMES[label] for label in everything[0].labels]
    few = [kinds[0], "anchor" if kinds[0] != "anchor" else "apple"]
    for target in targets(world(phrases=dict.fromkeys(few)), "val"):
        whole = everything[target.image_id]
        kept = [i for i, label in enumerate(whole.labels.tolist()) if KIND_NAMES[label] in few]
        assert torch.equal(target.boxes, whole.boxes[kept])
        assert target.boxes_px.shape == (len(kept), 4)
        assert [few[label] for label in target.labels] == [KIND_NAMES[whole.labels[i]] for i in kept]


def test_evaluation_pictures_are_the_same_in_every_epoch_and_come_once():
    data = world(eval_batch_size=4)
    first, later = (targets(data, "val", epoch) for epoch in (0, 7))
    assert [target.image_id for target in first] == [target.image_id for target in later]
    assert sorted(target.image_id for target in first) == list(range(FEW["num_val"]))


def test_validation_shows_known_combinations():
    for target in targets(world(num_val=12), "val"):
        things = drawn_again(target, "seen").objects
        assert not any(Phrase(thing.kind, thing.colour, thing.texture).held_out for thing in things)


def test_a_picture_lies_on_its_canvas_and_the_rest_is_empty():
    data = world(num_train=9, batch_size=4, canvas_multiple=64, train_short_sides=[96, 128])
    canvases = set()
    for batch in batches(data, epoch=1):
        canvases.add(tuple(batch.pixels.shape[2:]))
        for pixels, mask, target in zip(batch.pixels, batch.pixel_mask, batch.targets, strict=True):
            inside = torch.zeros_like(mask)
            inside[: target.height, : target.width] = True
            assert torch.equal(mask, inside)
            assert pixels[:, ~inside].abs().max() == 0
            mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
            shown = pixels[:, : target.height, : target.width].permute(1, 2, 0) * std + mean
            image = drawn_again(target, "train").image
            assert np.array_equal((shown * 255).round().numpy().astype(np.uint8), image)
    assert all(side % 64 == 0 for canvas in canvases for side in canvas)


def test_pictures_have_the_sides_that_were_asked_for():
    sides = {96: 120, 112: 140}  # short: long
    data = world(num_train=30, batch_size=3, short_side=96, long_side_max=120, train_short_sides=[96, 112])
    sizes = [(target.width, target.height) for target in targets(data)]
    assert {min(size) for size in sizes} == set(sides)
    shapes = {shape for short, long in sides.items() for shape in ((short, short), (long, short), (short, long))}
    assert set(sizes) == shapes
    evaluated = {(target.width, target.height) for target in targets(data, "val")}
    assert evaluated == {(96, 96), (120, 96), (96, 120)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        *(({name: 0}, rf"data\.{name} is 0: it must be at least 1") for name in ("num_train", "num_val")),
        *(({name: 0}, rf"data\.{name} is 0: it must be at least 1") for name in ("batch_size", "eval_batch_size")),
        *(({name: -1}, rf"data\.{name} is -1: it must be at least 0") for name in ("negatives", "num_workers", "seed")),
        ({"train_short_sides": [128, 0]}, r"data\.train_short_sides is 0"),
        ({"short_side": 90}, r"data\.short_side.* 90 px a side: a scene needs 96"),
        ({"train_short_sides": [96, 80]}, r"data\.train_short_sides.* 80 px"),
        ({"short_side": 110, "long_side_max": 110}, r"data\.long_side_max.* 88 px"),
        ({"short_side": 160, "long_side_max": 100}, r"long_side_max at least short_side"),
        ({"phrases": ["cup", "mask", "hut"]}, r"data\.phrases: mask, hut: .* circle, oval"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_before_anything_is_drawn(settings, says):
    with pytest.raises(ConfigError, match=says):
        world(**settings)


@pytest.mark.parametrize("phrases", [None, [], {}])
def test_no_classes_are_refused(phrases):
    with pytest.raises(ConfigError, match=r"model\.phrases"):
        world(phrases=phrases).setup("fit")


def test_overfit_batches_is_refused():
    data = world()
    data.trainer = Trainer(overfit_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ConfigError, match=r"overfit_batches .* data\.num_train"):
        data.setup("fit")


def test_hyper_parameters_load_without_code(tmp_path):
    torch.save(dict(world(train_short_sides=[96]).hparams), tmp_path / "hparams.pt")
    loaded = torch.load(tmp_path / "hparams.pt", weights_only=True)
    assert (loaded["phrases"], loaded["num_train"], loaded["train_short_sides"]) == (KIND_NAMES, 12, [96])


def test_the_world_has_no_word_of_the_mask_data():
    theirs = {word for name in [*CLASSES, *PHRASES.values()] for word in name.replace("_", " ").split()}
    ours = {word for name in [*KINDS, *COLOURS, *TEXTURES] for word in name.split()}
    ours |= {word for phrase in vocabulary() for word in phrase.text.split()}
    assert "mask" in theirs
    assert theirs.isdisjoint(ours | {"left", "right", "of", "above", "below", "a", "an"})
