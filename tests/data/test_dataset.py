import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gdino_lightning.data import dataset as dataset_file
from gdino_lightning.data.batch import CanvasSampler, Request, collate
from gdino_lightning.data.canvas import IMAGENET_MEAN, IMAGENET_STD, Sizing
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.grounding import GroundedPicture
from gdino_lightning.data.pictures import Picture
from gdino_lightning.data.transforms import Augmentation
from gdino_lightning.errors import DatasetError
from gdino_lightning.prompt.captions import Caption

CLASSES = ["with", "without"]
SIZING = Sizing(128, 213, 32)
SIZES = [(301, 400), (400, 267), (400, 301), (400, 301), (267, 400), (300, 300)]
EVERYTHING = Augmentation(1, 1, 1)
CAPTION = Caption("grey, with a red patch left of nothing", (((0, 4),), ((11, 22),)))


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


@pytest.fixture
def captions(pictures):
    """The same pictures, each with a caption whose second phrase is the patch; the first has no box."""
    return [
        GroundedPicture(p.path, p.width, p.height, p.boxes_px, (1,) * len(p.boxes_px), CAPTION, "x:1") for p in pictures
    ]


def evaluated(dataset, index):
    return dataset.sample(Request(index, 0, SIZING, SIZING.canvas(*dataset.sizes[index])))


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


def test_samples_are_the_same_for_any_number_of_workers(pictures, captions):
    dataset = DetectionDataset(pictures, CLASSES, captions=captions, augmentation=Augmentation(), seed=3)
    runs = []
    for num_workers in (0, 2):
        sampler = CanvasSampler(dataset.sizes, 2, SIZING, short_sides=[96, 128], shuffle=True)
        sampler.set_epoch(4)
        loader = DataLoader(dataset, sampler=sampler, batch_size=None, collate_fn=collate, num_workers=num_workers)
        runs.append(list(loader))
    assert len(runs[0]) == len(runs[1]) == 6
    ids = {target.image_id: target.caption for batch in runs[1] for target in batch.targets}
    assert ids == dict(enumerate([None] * 6 + [CAPTION] * 6))
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one.pixels, two.pixels)
        for left, right in zip(one.targets, two.targets, strict=True):
            assert left.image_id == right.image_id
            assert torch.equal(left.boxes, right.boxes)
            assert torch.equal(left.labels, right.labels)
            assert left.caption == right.caption


def test_epochs_and_seeds_differ(pictures):
    request = Request(2, 0, SIZING, (192, 128))
    first = DetectionDataset(pictures, CLASSES, augmentation=EVERYTHING, seed=0)
    other = DetectionDataset(pictures, CLASSES, augmentation=EVERYTHING, seed=1)
    assert not torch.equal(first.sample(request).pixels, other.sample(request).pixels)
    later = Request(2, 1, SIZING, (192, 128))
    assert not torch.equal(first.sample(request).pixels, first.sample(later).pixels)


def test_captions_follow_the_pictures_with_labels_of_their_own(pictures, captions):
    dataset = DetectionDataset(pictures, CLASSES, captions=captions[1:])
    assert len(dataset) == 11
    assert dataset.sizes == SIZES + SIZES[1:]
    target = evaluated(dataset, 6).target
    assert (target.image_id, target.image_path, target.caption) == (6, str(pictures[1].path), CAPTION)
    assert (target.labels.tolist(), target.labels.dtype) == ([1], torch.int64)
    assert target.caption.phrases[target.labels[0]] == "a red patch"
    np.testing.assert_array_equal(target.boxes_px, pictures[1].boxes_px)
    assert torch.equal(target.boxes, evaluated(dataset, 1).target.boxes)
    assert torch.equal(evaluated(dataset, 6).pixels, evaluated(dataset, 1).pixels)
    assert [evaluated(dataset, index).target.caption for index in range(6)] == [None] * 6


@pytest.mark.parametrize("augmentation", [None, EVERYTHING])
def test_a_caption_without_a_box_has_an_empty_target(pictures, captions, augmentation):
    target = evaluated(DetectionDataset([], CLASSES, captions=captions, augmentation=augmentation), 5).target
    assert (target.boxes.shape, target.labels.shape, target.labels.dtype) == ((0, 4), (0,), torch.int64)
    assert target.caption == CAPTION


def test_a_captioned_picture_is_never_mirrored(tmp_path):
    # green left of red: which is which can be seen in every crop that holds both boxes
    rgb = np.full((200, 300, 3), 60, np.uint8)
    rgb[50:150, 40:100], rgb[50:150, 180:240] = (0, 255, 0), (255, 0, 0)
    boxes_px = np.array([[40, 50, 100, 150], [180, 50, 240, 150]], np.float32)
    path = tmp_path / "a.png"
    Image.fromarray(rgb).save(path)
    dataset = DetectionDataset(
        [Picture(path, 300, 200, boxes_px, ("with", "without"))],
        CLASSES,
        captions=[
            GroundedPicture(path, 300, 200, boxes_px, (0, 1), Caption("left , right", (((0, 4),), ((7, 12),))), "x:1")
        ],
        augmentation=Augmentation(0.5, 1, 0.5),
    )

    def is_mirrored(index, epoch):
        sample = dataset.sample(Request(index, epoch, SIZING, (192, 128)))
        seen = pixels_rgb(sample)
        green, red = (np.nonzero(seen[..., i] - seen[..., 1 - i] > 90)[1].mean() for i in (1, 0))
        first, second = sample.target.boxes[sample.target.labels.argsort(), 0].tolist()
        assert (first > second) == (green > red)
        return green > red

    assert not any(is_mirrored(1, epoch) for epoch in range(60))
    assert 15 <= sum(is_mirrored(0, epoch) for epoch in range(60)) <= 45


def test_captioned_pictures_are_cropped_and_recoloured(pictures, captions):
    plain = DetectionDataset([], CLASSES, captions=captions)
    for augmentation in (Augmentation(0, 1, 0), Augmentation(0, 0, 1)):
        changed = DetectionDataset([], CLASSES, captions=captions, augmentation=augmentation)
        assert not torch.equal(evaluated(changed, 0).pixels, evaluated(plain, 0).pixels)
    mirrored = DetectionDataset([], CLASSES, captions=captions, augmentation=Augmentation(1, 0, 0))
    assert torch.equal(evaluated(mirrored, 0).pixels, evaluated(plain, 0).pixels)


def test_the_cache_decodes_a_picture_once_for_all_its_captions(pictures, captions, monkeypatch):
    read = []
    decode = dataset_file.read_rgb
    monkeypatch.setattr(dataset_file, "read_rgb", lambda path: read.append(path) or decode(path))
    dataset = DetectionDataset(pictures[:2], CLASSES, captions=captions[:3] * 2, cache=True)
    assert len([evaluated(dataset, index) for index in range(len(dataset))]) == 8
    assert read == [picture.path for picture in pictures[:3]]


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
