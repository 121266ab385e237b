import json

import numpy as np
import pytest
import torch

from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE, Thresholds

BOX, NEAR, FAR = (0.0, 0, 100, 100), (0.0, 0, 100, 80), (200.0, 0, 300, 100)  # BOX and NEAR overlap by .8


def detections(*rows):
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def test_every_class_has_its_own_score_and_its_own_overlap():
    found = detections((BOX, 0.9, 0), (BOX, 0.8, 1), (NEAR, 0.7, 0), (NEAR, 0.6, 1), (FAR, 0.5, 0), (FAR, 0.3, 1))
    kept = Thresholds((0.55, 0.2), (0.9, 0.7)).apply(found)
    assert kept.labels.tolist() == [0, 1, 0, 1]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.3])
    assert kept.boxes.tolist() == [list(each) for each in (BOX, BOX, NEAR, FAR)]


def test_a_score_at_its_threshold_stays_and_an_overlap_at_its_own_too():
    found = detections((BOX, 0.5, 0), (NEAR, 0.25, 0))
    assert len(Thresholds((0.25,), (0.8,)).apply(found)) == 2
    assert len(Thresholds((0.251,), (0.8,)).apply(found)) == 1
    assert len(Thresholds((0.25,), (0.79,)).apply(found)) == 1


def test_nothing_found_stays_nothing():
    empty = detections((BOX, 0.5, 0)).select(torch.zeros(1, dtype=torch.bool))
    assert len(Thresholds.fixed(3).apply(empty)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_is_what_loops_over_the_boxes_keep(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (40, 2))], axis=1).astype(np.float32)
    scores, labels = np.sort(rng.random(40).astype(np.float32))[::-1].copy(), rng.integers(0, 3, 40)
    thresholds = Thresholds((0.1, 0.4, 0.6), (0.2, 0.5, 0.7))
    kept: list[int] = []
    for i in range(40):
        rivals = [j for j in kept if labels[j] == labels[i]]
        overlapped = any(iou(boxes[i], boxes[j]) > thresholds.nms_ious[labels[i]] for j in rivals)
        if scores[i] >= thresholds.scores[labels[i]] and not overlapped:
            kept.append(i)
    got = thresholds.apply(Detections(*(torch.from_numpy(each) for each in (boxes, scores, labels))))
    assert got.scores.tolist() == scores[kept].tolist()
    assert got.labels.tolist() == labels[kept].tolist()


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_the_user_beats_calibration_and_calibration_beats_the_literature():
    calibrated = Thresholds((0.2, 0.6), (0.4, 0.9), 1.5)
    assert Thresholds.chosen(calibrated, 2, None, None) == calibrated
    assert Thresholds.chosen(calibrated, 2, 0.3, None) == Thresholds((0.3, 0.3), (0.4, 0.9), 1.5)
    assert Thresholds.chosen(calibrated, 2, None, 0.0) == Thresholds((0.2, 0.6), (0.0, 0.0), 1.5)
    assert Thresholds.chosen(None, 2, None, None) == Thresholds.fixed(2, LITERATURE_SCORE, LITERATURE_NMS)
    assert Thresholds.fixed(2) == Thresholds((0.35, 0.35), (0.5, 0.5), 1.0)


def test_probabilities_follow_from_the_temperature():
    scores = torch.tensor([0.2, 0.5, 0.8])
    assert Thresholds.fixed(1).probabilities(scores).tolist() == pytest.approx([0.2, 0.5, 0.8])
    # the logit of .8 is ln 4, half of it ln 2, and that of 2 / 3
    assert Thresholds((0.1,), (0.5,), 2.0).probabilities(scores).tolist() == pytest.approx([1 / 3, 1 / 2, 2 / 3])
    certain = Thresholds((0.1,), (0.5,), 0.5).probabilities(torch.tensor([0.0, 1.0]))
    assert certain.tolist() == pytest.approx([0, 1], abs=1e-6)


def test_thresholds_come_back_from_checkpoints_and_json(tmp_path):
    thresholds = Thresholds((0.1 + 0.2, 0.35), (0.5, 1.0), 1.7)
    torch.save(thresholds.to_plain(), tmp_path / "plain.pt")
    assert Thresholds.from_plain(torch.load(tmp_path / "plain.pt", weights_only=True)) == thresholds
    text = json.dumps(thresholds.to_plain() | {"more": "beside it"})
    assert Thresholds.from_plain(json.loads(text)) == thresholds
