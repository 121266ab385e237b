"""Working points against plain loops over every threshold, and on imagined detectors with a test split."""

import json

import numpy as np
import pytest
import torch

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.calibration import NMS_IOUS, Calibration, calibrate
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.working_point import working_scores
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE, Thresholds

NAMES = ["often", "seldom", "rare"]


def pictures(count, seed, objects=4, shares=(0.6, 0.3, 0.1)):
    """A detector that finds most objects, some of them twice or three times, and background.

    Its scores differ by class: those of the second are low, hits and misses alike, as an unusual wording makes them.
    """
    rng = np.random.default_rng(seed)
    return [picture(index, rng, objects, shares) for index in range(count)]


def picture(index, rng, objects, shares):
    count = int(rng.integers(0, 2 * objects + 1))
    corners = rng.uniform(0, 250, (count, 2))
    truth = np.concatenate([corners, corners + rng.uniform(15, 60, (count, 2))], axis=1)
    labels = rng.choice(3, count, p=shares)
    times = rng.choice(4, count, p=[0.1, 0.5, 0.3, 0.1])
    near = np.repeat(truth, times, axis=0)
    near = near + rng.normal(0, 3, near.shape)
    background = rng.uniform(0, 250, (15, 2))
    background = np.concatenate([background, background + rng.uniform(15, 60, (15, 2))], axis=1)
    found_labels = np.concatenate([np.repeat(labels, times), rng.integers(0, 3, 15)])
    scores = np.concatenate([rng.beta(5, 5, len(near)), rng.beta(1.5, 7, 15)]) * np.array([1, 0.5, 0.9])[found_labels]
    order = np.argsort(-scores)
    return PictureRecord(
        index,
        truth.astype(np.float32),
        labels.astype(np.int64),
        np.concatenate([near, background])[order].astype(np.float32),
        scores[order].astype(np.float32),
        found_labels[order].astype(np.int64),
    )


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def count_at(records, label, score, nms_iou):
    """Detections, hits and true boxes of one class at a threshold, box by box."""
    found = hits = truths = 0
    for one in records:
        left = [box.tolist() for box, its in zip(one.truth_boxes, one.truth_labels, strict=True) if its == label]
        truths += len(left)
        shown = []
        for box, its_score, its in zip(one.boxes.tolist(), one.scores.tolist(), one.labels, strict=True):
            if its == label and its_score >= score and all(overlap(box, other) <= nms_iou for other in shown):
                shown.append(box)
        found += len(shown)
        for box in shown:
            best = max(left, key=lambda each: overlap(box, each), default=None)
            if best is not None and overlap(box, best) >= 0.5:
                left.remove(best)
                hits += 1
    return found, hits, truths


def everything(records, labels):
    """Counts of some classes together at every threshold that makes a difference, with every NMS."""
    scores = {score for one in records for score, its in zip(one.scores.tolist(), one.labels, strict=True)}
    for nms_iou in NMS_IOUS:
        for score in scores:
            yield np.sum([count_at(records, label, score, nms_iou) for label in labels], axis=0)


def f1(counts):
    found, hits, truths = counts
    return 2 * hits / (found + truths)


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_and_no_suppression_has_a_better_f1(seed):
    records = pictures(5, seed)
    result = calibrate(records, NAMES, min_boxes=1, evidence=0)
    for label, row in enumerate(result.classes):
        if row.num_boxes:
            counts = count_at(records, label, row.score, row.nms_iou)
            assert row.source == "class"
            assert row.f1 == pytest.approx(f1(counts))
            assert (row.precision, row.recall) == pytest.approx((counts[1] / counts[0], counts[1] / counts[2]))
            assert f1(counts) == pytest.approx(max(f1(each) for each in everything(records, [label])))


def jackknife(records, label, points):
    """The difference of F1 at two points, and its standard error by leaving out one picture after the other."""
    counts = np.array([[count_at([one], label, *point) for point in points] for one in records])
    without = counts.sum(axis=0) - counts
    differences = np.array([f1(best) - f1(usual) for best, usual in without])
    error = np.sqrt((len(records) - 1) / len(records) * ((differences - differences.mean()) ** 2).sum())
    best, usual = counts.sum(axis=0)
    return f1(best) - f1(usual), error


@pytest.mark.parametrize("label", [0, 1])
def test_the_best_f1_is_taken_where_it_is_better_by_more_than_the_wanted_standard_errors(label):
    records = pictures(60, 7)
    row = calibrate(records, NAMES, evidence=0).classes[label]
    usual = LITERATURE_SCORE, LITERATURE_NMS
    difference, error = jackknife(records, label, [(row.score, row.nms_iou), usual])
    assert difference > 0
    for share, expected in ((0.9, (row.score, row.nms_iou)), (1.1, usual)):
        chosen = calibrate(records, NAMES, evidence=share * difference / error).classes[label]
        assert (chosen.score, chosen.nms_iou) == expected
    own, pooled = (calibrate(records, NAMES, min_boxes=count, evidence=1000) for count in (1, 1000))
    assert own.table().splitlines()[1 + label].endswith("usual: no clear gain in F1")
    few = "of all classes pooled: fewer than 1000 boxes"
    assert pooled.table().splitlines()[1 + label].endswith(f"usual: no clear gain in F1 {few}")


def test_a_class_without_any_score_above_the_usual_threshold_gets_its_own():
    records = [
        PictureRecord(one.image_id, one.truth_boxes, one.truth_labels, one.boxes, one.scores / 5, one.labels)
        for one in pictures(60, 8)
    ]
    rows = calibrate(records, NAMES).classes
    assert all(row.score < 0.2 < LITERATURE_SCORE for row in rows)
    assert all(row.recall > 0.5 for row in rows)


def test_at_a_wanted_precision_most_boxes_are_found():
    records = pictures(6, 3, shares=(0.5, 0.5, 0))
    result = calibrate(records, NAMES, min_boxes=5, precision=0.8)
    for label in (0, 1):
        row = result.classes[label]
        reached = [counts for counts in everything(records, [label]) if counts[0] and counts[1] / counts[0] >= 0.8]
        assert row.precision >= 0.8
        assert row.recall == pytest.approx(max(hits / truths for _, hits, truths in reached))


def test_a_precision_out_of_reach_ends_at_the_highest_and_says_so():
    box, far = np.array([[0, 0, 10, 10]], np.float32), np.array([[50, 50, 60, 60]], np.float32)
    label = np.zeros(1, np.int64)
    wrong_first = PictureRecord(
        0, box, label, np.concatenate([far, box]), np.array([0.9, 0.5], np.float32), np.zeros(2, np.int64)
    )
    result = calibrate([wrong_first], ["a"], min_boxes=1, precision=0.9)
    assert result.classes[0].precision == 0.5
    assert "precision 0.9 (not reached)" in result.table()


def test_a_class_with_few_boxes_gets_the_thresholds_of_all_classes_together():
    records = pictures(6, 0)
    sizes = [sum((one.truth_labels == label).sum() for one in records) for label in range(3)]
    result = calibrate(records, NAMES, min_boxes=sizes[2] + 1, evidence=0)
    assert [row.source for row in result.classes] == ["class", "class", "pooled"]
    assert result.pooled == ["rare"]
    row = result.classes[2]
    together = np.sum([count_at(records, label, row.score, row.nms_iou) for label in range(3)], axis=0)
    best = max(f1(each) for each in everything(records, range(3)))
    assert f1(together) == pytest.approx(best)
    assert "rare" in result.table().splitlines()[3]
    assert result.table().splitlines()[3].endswith(f"F1 of all classes pooled: fewer than {sizes[2] + 1} boxes")


def test_thirty_boxes_are_enough_and_twenty_nine_are_not():
    def found(count):
        box, label = np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64)
        return [PictureRecord(i, box, label, box, np.array([0.5], np.float32), label) for i in range(count)]

    assert calibrate(found(30), ["a"]).classes[0].source == "class"
    assert calibrate(found(29), ["a"]).classes[0].source == "pooled"


def test_a_threshold_lies_half_way_to_the_next_score():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    labels = np.zeros(2, np.int64)
    one = PictureRecord(0, boxes[:1], labels[:1], boxes, np.array([0.75, 0.25], np.float32), labels)
    assert calibrate([one], ["a"], min_boxes=1, evidence=0).thresholds.scores == (0.5,)
    both = PictureRecord(0, boxes, labels, boxes, np.array([0.75, 0.25], np.float32), labels)
    lowest = calibrate([both], ["a"], min_boxes=1, evidence=0).thresholds.scores
    assert lowest == (0.25,)  # nothing below to part it from


def test_neighbouring_scores_are_parted_and_equal_ones_are_not():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    labels = np.zeros(2, np.int64)
    upper = np.float32(0.5)
    lower = np.nextafter(upper, np.float32(0))
    for below, f1_of_it in ((lower, 1.0), (upper, 2 / 3)):
        one = PictureRecord(0, boxes[:1], labels[:1], boxes, np.array([upper, below]), labels)
        assert calibrate([one], ["a"], min_boxes=1, evidence=0).classes[0].f1 == pytest.approx(f1_of_it)


def test_of_equally_good_suppressions_the_usual_one_is_taken():
    box, label = np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64)
    one = PictureRecord(0, box, label, box, np.array([0.6], np.float32), label)
    assert calibrate([one], ["a"], min_boxes=1).thresholds.nms_ious == (LITERATURE_NMS,)


def test_where_nothing_hits_the_literature_is_left():
    records = [
        PictureRecord(0, one.truth_boxes, one.truth_labels, one.boxes + 1000, one.scores, one.labels)
        for one in pictures(4, 0)
    ]
    missed, empty = calibrate(records, NAMES, min_boxes=1), calibrate([], NAMES)
    for result in (missed, empty):
        assert result.thresholds == Thresholds.fixed(3, LITERATURE_SCORE, LITERATURE_NMS)
        assert {row.source for row in result.classes} == {"literature"}
    assert missed.ece_before > LITERATURE_SCORE  # nothing but misses, all of them above the threshold
    assert (empty.ece_before, empty.ece_after) == (-1, -1)
    assert "literature: nothing hits" in missed.table()


def test_a_class_that_is_never_hit_gets_the_pooled_thresholds():
    records = [
        PictureRecord(
            one.image_id,
            one.truth_boxes,
            one.truth_labels,
            one.boxes,
            one.scores,
            np.where(one.labels == 2, 1, one.labels),
        )
        for one in pictures(6, 1)
    ]
    row = calibrate(records, NAMES, min_boxes=1).classes[2]
    assert (row.source, row.precision, row.recall) == ("pooled", -1, 0)


def test_the_order_of_pictures_and_the_names_do_not_matter():
    records = pictures(20, 4)
    back, forth = calibrate(records[::-1], NAMES).thresholds, calibrate(records, ["x", "y", "z"]).thresholds
    assert (back.scores, back.nms_ious) == (forth.scores, forth.nms_ious)
    assert back.temperature == pytest.approx(forth.temperature)


def test_the_reliability_is_that_of_what_is_shown():
    records = pictures(60, 5)
    result = calibrate(records, NAMES)
    scores = working_scores(records, NAMES, result.thresholds)
    assert (result.ece_before, result.ece_after) == pytest.approx((scores["working/ece_raw"], scores["working/ece"]))
    shown = sum(count_at(records, label, row.score, row.nms_iou)[0] for label, row in enumerate(result.classes))
    assert sum(each.count for each in result.raw.bins) == shown
    by_class = [sum(each.count for each in row.scaled.bins) for row in result.classes]
    assert sum(by_class) == shown
    assert 0 < result.ece_after < result.ece_before


def test_everything_comes_back_from_json_and_from_checkpoints(tmp_path):
    result = calibrate(pictures(20, 6), NAMES, precision=0.7)
    result.save(tmp_path)
    read = json.loads((tmp_path / "thresholds.json").read_text())
    assert read["evidence"] == 2.5
    assert Calibration.from_plain(read) == result
    assert Thresholds.from_plain(read) == result.thresholds
    torch.save(result.to_plain(), tmp_path / "plain.pt")
    assert Calibration.from_plain(torch.load(tmp_path / "plain.pt", weights_only=True)) == result


@pytest.mark.parametrize("wrong", [{"min_boxes": 0}, {"precision": 0.0}, {"precision": 1.1}, {"evidence": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        calibrate([], NAMES, **wrong)


@pytest.mark.parametrize("seed", range(5))
def test_chosen_on_validation_they_help_on_other_pictures(seed):
    """As many pictures as the sample's splits have, and the fixed thresholds of the literature and the tutorial."""
    chosen = calibrate(pictures(60, seed), NAMES)
    test = pictures(253, seed + 100)
    calibrated = working_scores(test, NAMES, chosen.thresholds)
    fixed = working_scores(test, NAMES, Thresholds.fixed(3, 0.35, 0.8))
    for name in ("working/f1", "working/f1_mean", "working/f1/often", "working/f1/seldom"):
        assert calibrated[name] >= fixed[name]
    assert calibrated["working/ece"] <= calibrated["working/ece_raw"]
