import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from ranks import on_ranks

from gdino_lightning.data.batch import Target
from gdino_lightning.evaluation.coco_map import CocoMeanAveragePrecision
from gdino_lightning.inference.postprocess import Detections

NAMES = ["with_mask", "without_mask", "mask_weared_incorrect"]
Scene = tuple[Detections, Target]


def target(image_id: int, boxes: torch.Tensor, labels: torch.Tensor) -> Target:
    return Target(image_id, f"images/{image_id}.png", 400, 300, boxes.clone(), labels, boxes)


def random_boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    corner = rng.uniform(0, 280, (count, 2))
    size = np.exp(rng.uniform(np.log(4), np.log(120), (count, 2)))  # of all three areas
    return torch.tensor(np.concatenate([corner, corner + size], 1), dtype=torch.float32)


def random_scene(rng: np.random.Generator, image_id: int, num_boxes: int, classes: Sequence[int]) -> Scene:
    """Boxes of some classes, and detections that are near them, doubled, of a wrong class or elsewhere."""
    boxes = random_boxes(rng, num_boxes)
    labels = torch.tensor(rng.choice(classes, num_boxes), dtype=torch.int64)
    near = boxes + torch.tensor(rng.normal(0, 3, (num_boxes, 4)), dtype=torch.float32)
    near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
    twice = near[rng.random(num_boxes) < 0.3] + 1
    far = random_boxes(rng, int(rng.integers(0, 8)))
    found = torch.cat([near, twice, far])
    found_labels = torch.tensor(rng.integers(0, len(NAMES), len(found)), dtype=torch.int64)
    found_labels[:num_boxes] = torch.where(torch.tensor(rng.random(num_boxes) < 0.8), labels, 0)
    scores = torch.tensor(rng.integers(1, 20, len(found)) / 20, dtype=torch.float32)  # so that many are equal
    order = scores.argsort(descending=True, stable=True)
    return Detections(found[order], scores[order], found_labels[order]), target(image_id, boxes, labels)


def nothing_found() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def random_split(seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    classes = [0, 1] if seed % 5 == 1 else [0, 1, 2]  # one class absent
    scenes = [random_scene(rng, i, int(rng.integers(0, 12)), classes) for i in range(6)]
    if seed % 5 == 2:
        scenes = [(nothing_found(), truth) for _, truth in scenes]
    if seed % 5 == 3:  # no boxes in half of the pictures
        scenes = [
            (found, truth if i % 2 else target(i, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
            for i, (found, truth) in enumerate(scenes)
        ]
    if seed % 5 == 4:  # more than the 100 detections that count
        scenes.append(random_scene(rng, 6, 115, [0]))
    return scenes


def pycocotools_scores(scenes: Sequence[Scene]) -> dict[str, float]:
    annotations, results = [], []
    for found, truth in scenes:
        for box, label in zip(truth.boxes_px.double().tolist(), truth.labels.tolist(), strict=True):
            size = [box[2] - box[0], box[3] - box[1]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": truth.image_id,
                    "category_id": label,
                    "bbox": [*box[:2], *size],
                    "area": size[0] * size[1],
                    "iscrowd": 0,
                }
            )
        for box, score, label in zip(
            found.boxes.double().tolist(), found.scores.double().tolist(), found.labels.tolist(), strict=True
        ):
            results.append(
                {
                    "image_id": truth.image_id,
                    "category_id": label,
                    "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]],
                    "score": score,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "images": [{"id": truth.image_id} for _, truth in scenes],
            "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
            "annotations": annotations,
        }
        truth_set.createIndex()
        if results:
            found_set = truth_set.loadRes(results)
        else:  # loadRes fails on an empty list
            found_set = COCO()
            found_set.dataset = {**truth_set.dataset, "annotations": []}
            found_set.createIndex()
        evaluation = COCOeval(truth_set, found_set, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    keys = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100"]
    scores = dict(zip(keys, map(float, evaluation.stats[:9]), strict=True))
    for i, name in enumerate(NAMES):
        known = evaluation.eval["precision"][:, :, i, 0, 2]
        known = known[known > -1]
        scores[f"map/{name}"] = float(known.mean()) if known.size else -1.0
    return scores


def our_scores(scenes: Sequence[Scene], batch: int = 4) -> dict[str, float]:
    metric = CocoMeanAveragePrecision(NAMES)
    for start in range(0, len(scenes), batch):
        part = scenes[start : start + batch]
        metric.update([found for found, _ in part], [truth for _, truth in part])
    return {key: value.item() for key, value in metric.compute().items()}


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_pycocotools(seed: int) -> None:
    scenes = random_split(seed)
    expected = pycocotools_scores(scenes)
    ours = our_scores(scenes)
    assert ours.keys() == expected.keys()
    assert ours == pytest.approx(expected, abs=1e-6, rel=0)


def test_a_perfect_detector_scores_one_and_an_absent_class_minus_one() -> None:
    boxes = torch.tensor([[10.0, 10, 60, 60], [100, 100, 120, 130]])
    labels = torch.tensor([0, 1])
    scores = our_scores([(Detections(boxes, torch.tensor([0.9, 0.8]), labels), target(0, boxes, labels))])
    assert scores["map"] == pytest.approx(1)
    assert scores["map/with_mask"] == pytest.approx(1)
    assert scores["map/mask_weared_incorrect"] == -1
    assert scores["map_large"] == -1


def test_no_predictions_score_zero() -> None:
    boxes, labels = torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0])
    scores = our_scores([(nothing_found(), target(0, boxes, labels))])
    assert (scores["map"], scores["map_50"], scores["mar_100"], scores["map/with_mask"]) == (0, 0, 0, 0)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_boxes_at_all_score_minus_one() -> None:
    found = Detections(torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0.9]), torch.tensor([0]))
    empty = target(0, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert set(our_scores([(found, empty)]).values()) == {-1}
    assert set(our_scores([]).values()) == {-1}


def test_boxes_moved_by_one_pixel_score_less() -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 300, (60, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.integers(14, 36, (60, 2))], 1)).float()
    labels = torch.zeros(60, dtype=torch.int64)
    scores = torch.linspace(0.9, 0.1, 60)
    maps = [our_scores([(Detections(boxes + s, scores, labels), target(0, boxes, labels))]) for s in (0, -1)]
    assert maps[0]["map"] == pytest.approx(1)
    assert 0.4 < maps[1]["map"] < 0.8
    assert maps[1]["map_50"] > 0.95


def test_a_picture_that_comes_twice_counts_once_in_any_order() -> None:
    scenes = random_split(0)
    padded = [scenes[2], *reversed(scenes), scenes[0], scenes[0]]
    assert our_scores(padded) == our_scores(scenes)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_reset_forgets_everything() -> None:
    metric = CocoMeanAveragePrecision(NAMES)
    for found, truth in random_split(0):
        metric.update([found], [truth])
    metric.reset()
    assert {value.item() for value in metric.compute().values()} == {-1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_errors(bad: float) -> None:
    boxes, labels = torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0])
    for found in (
        Detections(boxes, torch.tensor([bad]), labels),
        Detections(boxes * bad, torch.ones(1), labels),
    ):
        with pytest.raises(ValueError, match=r"images/3\.png.*not finite"):
            our_scores([(found, target(3, boxes, labels))])


def test_a_label_without_a_class_and_an_augmented_target_are_errors() -> None:
    boxes, labels = torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([0])
    found = Detections(boxes, torch.ones(1), torch.tensor([3]))
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        our_scores([(found, target(0, boxes, labels))])
    augmented = target(0, boxes, labels)
    augmented.boxes_px = None
    with pytest.raises(ValueError, match=r"images/0\.png.*unaugmented"):
        our_scores([(nothing_found(), augmented)])
    with pytest.raises(ValueError, match="zip"):
        CocoMeanAveragePrecision(NAMES).update([nothing_found()], [])


SHARES = {
    "a padded picture": [[0, 2, 4, 6], [1, 3, 5, 0]],
    "a rank without pictures": [[0, 1, 2, 3, 4, 5, 6], []],
    "no pictures": [[], []],
}


def _score_shares(rank: int) -> dict[str, dict[str, float]]:
    scenes = random_split(4)
    scores = {}
    for name, shares in SHARES.items():
        metric = CocoMeanAveragePrecision(NAMES)
        for i in shares[rank]:
            metric.update([scenes[i][0]], [scenes[i][1]])
        scores[name] = {key: value.item() for key, value in metric.compute().items()}
    return scores


@pytest.mark.timeout(60)
def test_two_processes_score_as_one() -> None:
    alone = our_scores(random_split(4))
    nothing = dict.fromkeys(alone, -1.0)
    for scores in on_ranks(_score_shares, group=True):
        assert scores == dict(zip(SHARES, (alone, alone, nothing), strict=True))
