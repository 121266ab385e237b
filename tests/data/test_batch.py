from collections import Counter

import pytest
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch.utilities import move_data_to_device
from torch.utils.data import DataLoader, DistributedSampler

from gdino_lightning.data.batch import CanvasSampler, Sample, Target, collate
from gdino_lightning.data.canvas import Sizing
from gdino_lightning.prompt.captions import Caption

SIZING = Sizing(128, 213, 32)
CAPTION = Caption("a man behind two dogs", (((0, 5),), ((13, 21),)))
SIZES = [(400, 301)] * 11 + [(400, 267)] * 7 + [(301, 400)] * 6 + [(300, 300)] * 3 + [(250, 400)]


def make_sample(image_id=0, height=64, width=96, boxes=2, caption=None):
    labels = torch.zeros(boxes, dtype=torch.int64)
    target = Target(image_id, "a.png", 400, 301, torch.rand(boxes, 4), labels, None, caption)
    return Sample(torch.rand(3, height, width), torch.ones(height, width, dtype=torch.bool), target)


def indices(batches):
    return [request.index for batch in batches for request in batch]


def training(**settings):
    return CanvasSampler(SIZES, 4, SIZING, shuffle=True, **settings)


def test_collate_stacks_in_order():
    samples = [make_sample(i, boxes=i) for i in range(3)]
    batch = collate(samples)
    assert batch.pixels.shape == (3, 3, 64, 96)
    assert batch.pixel_mask.shape == (3, 64, 96)
    assert torch.equal(batch.pixels[2], samples[2].pixels)
    assert [target.image_id for target in batch.targets] == [0, 1, 2]
    assert [len(target.boxes) for target in batch.targets] == [0, 1, 2]


def test_collate_refuses_two_canvases():
    with pytest.raises(ValueError, match="one canvas"):
        collate([make_sample(), make_sample(height=96)])


def test_class_lists_and_captions_share_a_batch():
    batch = collate([make_sample(), make_sample(caption=CAPTION), make_sample()])
    assert [target.caption for target in batch.targets] == [None, CAPTION, None]


def test_lightning_moves_every_tensor_of_a_batch():
    batch = collate([make_sample(), make_sample(caption=CAPTION)])
    batch.targets[1].boxes_px = torch.ones(2, 4)
    moved = move_data_to_device(batch, torch.device("meta"))
    tensors = [moved.pixels, moved.pixel_mask, moved.targets[1].boxes_px]
    tensors += [tensor for target in moved.targets for tensor in (target.boxes, target.labels)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.targets[0].boxes_px, moved.targets[0].width) == (None, 400)
    assert [target.caption for target in moved.targets] == [None, CAPTION]


@pytest.mark.parametrize(("device", "non_blocking"), [("cuda:0", True), ("cpu", False), ("mps", False)])
def test_only_copies_to_cuda_let_the_program_run_on(monkeypatch, device, non_blocking):
    calls = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *args, **settings: calls.append((args, settings)) or tensor)
    make_sample().target.to(torch.device(device))
    assert calls == [((torch.device(device),), {"non_blocking": non_blocking})] * 2  # boxes and labels


def test_pinning_reaches_every_tensor(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(id(tensor)) or tensor.clone())
    batch = collate([make_sample(), make_sample(caption=CAPTION)])
    batch.targets[1].boxes_px = torch.ones(2, 4)
    copy = batch.pin_memory()
    expected = [batch.pixels, batch.pixel_mask, batch.targets[1].boxes_px]
    expected += [tensor for target in batch.targets for tensor in (target.boxes, target.labels)]
    assert sorted(pinned) == sorted(id(tensor) for tensor in expected)
    assert torch.equal(copy.pixels, batch.pixels)
    assert copy.targets[0].boxes_px is None
    assert [target.caption for target in copy.targets] == [None, CAPTION]


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_picture_once_and_one_canvas_in_a_batch(shuffle):
    sampler = CanvasSampler(SIZES, 4, SIZING, shuffle=shuffle, short_sides=[96, 128, 160])
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(indices(batches)) == list(range(len(SIZES)))
        for batch in batches:
            assert 1 <= len(batch) <= 4
            assert len({(request.canvas, request.sizing, request.epoch) for request in batch}) == 1
            assert batch[0].epoch == epoch


def test_evaluation_keeps_each_picture_on_its_own_canvas():
    for batch in CanvasSampler(SIZES, 4, SIZING, short_sides=[96]):
        for request in batch:
            assert request.canvas == SIZING.canvas(*SIZES[request.index])
            assert request.sizing == SIZING


def test_a_training_canvas_holds_its_members_and_no_more():
    for batch in training(short_sides=[96, 128, 160]):
        canvases = [request.sizing.canvas(*SIZES[request.index]) for request in batch]
        assert batch[0].canvas == tuple(max(side) for side in zip(*canvases, strict=True))


def test_leftovers_are_merged_in_training():
    # 28 pictures in 5 groups: evaluation needs 3 + 2 + 2 + 1 + 1 batches, training 28 / 4
    assert len(CanvasSampler(SIZES, 4, SIZING)) == 9
    assert len(training()) == 7
    assert {len(batch) for batch in training()} == {4}


def test_every_scale_is_drawn():
    drawn = Counter(batch[0].sizing.short_side for batch in training(short_sides=[96, 128, 160], seed=1))
    sampler = training(short_sides=[96, 128, 160])
    for epoch in range(20):
        sampler.set_epoch(epoch)
        drawn.update(batch[0].sizing.short_side for batch in sampler)
    assert set(drawn) == {96, 128, 160}
    assert min(drawn.values()) > 20


def test_order_follows_from_seed_and_epoch():
    first, same, other = training(seed=1), training(seed=1), training(seed=2)
    assert list(first) == list(same)
    assert indices(first) != indices(other)
    same.set_epoch(1)
    assert indices(first) != indices(same)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_work(shuffle, world_size):
    whole = list(CanvasSampler(SIZES, 4, SIZING, shuffle=shuffle))
    ranks = [
        list(CanvasSampler(SIZES, 4, SIZING, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {-(-len(whole) // world_size)}
    dealt = [batches[step] for step in range(len(ranks[0])) for batches in ranks]
    assert dealt[: len(whole)] == whole
    assert dealt[len(whole) :] == whole[: len(dealt) - len(whole)]


def test_lightning_finds_set_epoch_and_does_not_replace_the_sampler():
    sampler = training()
    loader = DataLoader(range(len(SIZES)), sampler=sampler, batch_size=None)
    _set_sampler_epoch(loader, 5)
    assert sampler.epoch == 5
    assert next(iter(sampler))[0].epoch == 5
    assert isinstance(loader.sampler, DistributedSampler)
    assert len(loader) == len(sampler)


def test_no_pictures_give_no_batches():
    sampler = CanvasSampler([], 4, SIZING)
    assert (len(sampler), list(sampler)) == (0, [])
