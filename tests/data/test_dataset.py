import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import CanvasSampler, Request, collate
from gdino_lightning.data.canvas import IMAGENET_MEAN, IMAGENET_STD, Sizing
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.table import Picture
from gdino_lightning.data.transforms import Augmentation
from gdino_lightning.errors import DatasetError

CLASSES = ["with", "without"]
SIZING = Sizing(128, 213, 32)
SIZES = [(301, 400), (400, 267), (400, 301), (400, 301), (267, 400), (300, 300)]
EVERYTHING = Augmentation(1, 1, 1)


@pytest.fixture
def pictures(tmp_path):
    """Grey pictures with one red patch, whose box is annotated; the last has none."""
    made = []
    for number, (width, height) in enumerate(SIZES):
        rgb = np.full((height, width, 3), 128, np.uint8)
        boxes_px = np.zeros((0, 4), np.float32)
        if number < len(SIZES) - 1:
            x1, y1 = 40 + 20 * number, 60 + 10 * number
            boxes_px = np.array([[x1, y1, x1 + 90, y1 + 70]], np.float32)
            rgb[y1 : y1 + 70, x1 : x1 + 90] = (255, 0, 0)
        path = tmp_path / f"{number}.png"
        Image.fromarray(rgb).save(path)
        made.append(Picture(path, width, height, boxes_px, ("without",) * len(boxes_px)))
    return made


def evaluated(dataset, index):
    return dataset.sample(Request(index, 0, SIZING, SIZING.canvas(*SIZES[index])))


def pixels_rgb(sample):
    """Undo the normalisation; shape (H, W, 3), 0 to 255."""
    return (sample.pixels.permute(1, 2, 0).numpy() * IMAGENET_STD + IMAGENET_MEAN) * 255


def seen_box_px(sample):
    rgb = pixels_rgb(sample)
    ys, xs = np.nonzero((rgb[..., 0] - rgb[..., 1:].max(-1) > 90) & sample.pixel_mask.numpy())
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def target_box_px(sample):
    """The target's box in px of the canvas, by the size of the picture that the mask shows."""
    width, height = sample.pixel_mask[0].sum().item(), sample.pixel_mask[:, 0].sum().item()
    cx, cy, w, h = sample.target.boxes[0].tolist()
    return np.array([(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height])


@pytest.mark.parametrize("augmentation", [None, Augmentation(0, 0, 0), EVERYTHING])
def test_boxes_are_relative_to_the_picture_not_to_the_canvas(pictures, augmentation):
    # 301x400 and 400x267 merged: both are padded, on different sides
    dataset = DetectionDataset(pictures, CLASSES, augmentation=augmentation)
    for epoch in range(3):
        for index in (0, 1):
            sample = dataset.sample(Request(index, epoch, SIZING, (192, 192)))
            assert sample.pixels.shape == (3, 192, 192)
            assert np.abs(seen_box_px(sample) - target_box_px(sample)).max() <= 1.5
            assert not sample.pixel_mask.all()
            assert sample.pixels[:, ~sample.pixel_mask].abs().max() == 0


def test_targets_of_evaluation(pictures):
    sample = evaluated(DetectionDataset(pictures, CLASSES), 1)
    target = sample.target
    assert (target.image_id, target.width, target.height) == (1, 400, 267)
    assert target.image_path == str(pictures[1].path)
    np.testing.assert_array_equal(target.boxes_px, pictures[1].boxes_px)
    np.testing.assert_allclose(target.boxes, [[105 / 400, 105 / 267, 90 / 400, 70 / 267]], rtol=1e-6)
    assert (target.boxes.dtype, target.labels.dtype, target.labels.tolist()) == (
        torch.float32,
        torch.int64,
        [1],
    )


def test_augmented_targets_have_no_stored_boxes(pictures):
    assert evaluated(DetectionDataset(pictures, CLASSES, augmentation=EVERYTHING), 1).target.boxes_px is None


@pytest.mark.parametrize("augmentation", [None, EVERYTHING])
def test_negatives_have_empty_targets(pictures, augmentation):
    target = evaluated(DetectionDataset(pictures, CLASSES, augmentation=augmentation), 5).target
    assert (target.boxes.shape, target.boxes.dtype) == ((0, 4), torch.float32)
    assert (target.labels.shape, target.labels.dtype) == ((0,), torch.int64)


def test_a_picture_does_not_depend_on_its_neighbours(pictures):
    dataset = DetectionDataset(pictures, CLASSES)
    together = collate(dataset[[Request(index, 0, SIZING, SIZING.canvas(400, 301)) for index in (2, 3)]])
    alone = evaluated(dataset, 2)
    assert torch.equal(together.pixels[0], alone.pixels)
    assert torch.equal(together.targets[0].boxes, alone.target.boxes)


@pytest.mark.parametrize("augmentation", [None, EVERYTHING])
def test_the_cache_changes_no_bit(pictures, augmentation):
    plain, cached = (
        DetectionDataset(pictures, CLASSES, augmentation=augmentation, cache=cache) for cache in (False, True)
    )
    for _ in range(2):  # the second time, the cache would show what the first did to it
        for index in range(len(SIZES)):
            assert torch.equal(evaluated(plain, index).pixels, evaluated(cached, index).pixels)
            assert torch.equal(evaluated(plain, index).target.boxes, evaluated(cached, index).target.boxes)


def test_the_cache_reads_no_file_twice(pictures):
    dataset = DetectionDataset(pictures, CLASSES, cache=True)
    pictures[0].path.unlink()
    assert evaluated(dataset, 0).pixel_mask.any()


def test_samples_are_the_same_for_any_number_of_workers(pictures):
    dataset = DetectionDataset(pictures, CLASSES, augmentation=Augmentation(), seed=3)
    runs = []
    for num_workers in (0, 2):
        sampler = CanvasSampler(dataset.sizes, 2, SIZING, short_sides=[96, 128], shuffle=True)
        sampler.set_epoch(4)
        loader = DataLoader(dataset, sampler=sampler, batch_size=None, collate_fn=collate, num_workers=num_workers)
        runs.append(list(loader))
    assert len(runs[0]) == len(runs[1]) == 3
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one.pixels, two.pixels)
        for left, right in zip(one.targets, two.targets, strict=True):
            assert left.image_id == right.image_id
            assert torch.equal(left.boxes, right.boxes)


def test_epochs_and_seeds_differ(pictures):
    request = Request(2, 0, SIZING, (192, 128))
    first = DetectionDataset(pictures, CLASSES, augmentation=EVERYTHING, seed=0)
    other = DetectionDataset(pictures, CLASSES, augmentation=EVERYTHING, seed=1)
    assert not torch.equal(first.sample(request).pixels, other.sample(request).pixels)
    later = Request(2, 1, SIZING, (192, 128))
    assert not torch.equal(first.sample(request).pixels, first.sample(later).pixels)


def test_unknown_labels_name_the_classes(pictures):
    with pytest.raises(DatasetError, match=r"0\.png: label 'without' .* with, incorrect"):
        DetectionDataset(pictures, ["with", "incorrect"])


def test_training_without_augmentation_sees_what_evaluation_sees(pictures):
    training, evaluation = (
        DetectionDataset(pictures, CLASSES, augmentation=changes) for changes in (Augmentation(0, 0, 0), None)
    )
    for index in range(len(SIZES)):
        one, two = evaluated(training, index), evaluated(evaluation, index)
        assert torch.equal(one.pixels, two.pixels)
        torch.testing.assert_close(one.target.boxes, two.target.boxes, atol=1e-6, rtol=0)
