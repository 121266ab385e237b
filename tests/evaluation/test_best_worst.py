"""The choice of pictures to look at, by hand."""

import numpy as np

from gdino_lightning.evaluation.best_worst import PictureScore, best_and_worst, picture_score
from gdino_lightning.evaluation.records import PictureRecord


def test_hits_false_positives_and_misses_make_the_f1():
    here, there = [0, 0, 10, 10], [50, 50, 60, 60]
    record = PictureRecord(
        7,
        np.array([here, there], np.float32),
        np.array([0, 0]),
        np.array([here, here, [80, 80, 90, 90]], np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.array([0, 0, 0]),
    )
    score = picture_score(record)
    assert score == PictureScore(7, hits=1, false_positives=2, misses=1)
    assert score.f1 == 2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2)


def test_nothing_found_where_nothing_is_is_right():
    assert PictureScore(0, 0, 0, 0).f1 == 1
    assert PictureScore(0, 0, 1, 0).f1 == 0


def test_of_equal_scores_crowds_come_first_at_both_ends():
    scores = [
        PictureScore(0, hits=1, false_positives=0, misses=0),
        PictureScore(1, hits=9, false_positives=0, misses=0),
        PictureScore(2, hits=0, false_positives=1, misses=0),
        PictureScore(3, hits=0, false_positives=0, misses=5),
        PictureScore(4, hits=1, false_positives=1, misses=0),
    ]
    best, worst = best_and_worst(scores, 2)
    assert [score.image_id for score in best] == [1, 0]
    assert [score.image_id for score in worst] == [3, 2]


def test_no_picture_is_in_both_lists():
    scores = [PictureScore(i, hits=i, false_positives=1, misses=0) for i in range(5)]
    best, worst = best_and_worst(scores, 12)
    assert [score.image_id for score in best] == [4, 3, 2]
    assert [score.image_id for score in worst] == [0, 1]
    assert best_and_worst([], 12) == ([], [])
    assert best_and_worst(scores, 0) == ([], [])
