import numpy as np
import pytest

from gdino_lightning.evaluation.reliability import Reliability, fit_temperature


def test_the_error_is_the_mean_gap_weighted_by_detections():
    curve = Reliability.of(np.array([0.05, 0.95, 0.95, 0.85]), np.array([False, True, False, True]))
    # gaps by hand: |.05 - 0|, twice |.95 - .5|, |.85 - 1|
    assert curve.ece == pytest.approx((0.05 + 2 * 0.45 + 0.15) / 4)
    assert [each.count for each in curve.bins] == [1, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    last = curve.bins[-1]
    assert (last.low, last.high, last.confidence, last.accuracy) == pytest.approx((0.9, 1.0, 0.95, 0.5))
    assert (curve.bins[3].confidence, curve.bins[3].accuracy) == (0, 0)


def test_a_bin_has_its_upper_end_and_the_first_one_zero_too():
    curve = Reliability.of(np.array([0.0, 0.1, 0.7, 1.0]), np.ones(4, np.bool_))
    assert [number for number, each in enumerate(curve.bins) if each.count] == [0, 6, 9]


def test_scores_that_are_the_share_of_hits_have_no_error():
    hits = np.arange(100) < 35
    assert Reliability.of(np.full(100, 0.35), hits).ece == pytest.approx(0)
    assert Reliability.of(np.full(100, 0.75), hits).ece == pytest.approx(0.4)


def test_without_detections_there_is_no_error_to_speak_of():
    curve = Reliability.of(np.zeros(0, np.float32), np.zeros(0, np.bool_))
    assert curve.ece == -1
    assert len(curve.bins) == 10
    assert fit_temperature(np.zeros(0, np.float32), np.zeros(0, np.bool_)) == 1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_of_scaled_logits_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    hits = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    scores = (1 / (1 + np.exp(-logits * temperature))).astype(np.float32)
    assert fit_temperature(scores, hits) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_makes_the_hits_likelier():
    rng = np.random.default_rng(1)
    scores, hits = rng.uniform(0.3, 0.99, 200).astype(np.float32), rng.random(200) < 0.6

    def loss(temperature):
        likelihoods = []
        for score, hit in zip(scores.astype(float), hits, strict=True):
            probability = 1 / (1 + ((1 - score) / score) ** (1 / temperature))
            likelihoods.append(np.log(probability if hit else 1 - probability))
        return -sum(likelihoods)

    found = fit_temperature(scores, hits)
    assert all(loss(found) <= loss(other) + 1e-6 for other in [*np.geomspace(0.3, 10, 60), found * 0.99, found * 1.01])


@pytest.mark.parametrize("hit", [True, False])
def test_nothing_but_hits_or_misses_says_nothing(hit):
    assert fit_temperature(np.array([0.6, 0.9], np.float32), np.full(2, hit)) == 1


def test_what_would_drive_the_temperature_to_nothing_or_without_end_is_bounded():
    scores = np.array([0.0, 0.1, 0.9, 1.0], np.float32)
    assert fit_temperature(scores, scores > 0.5) == pytest.approx(0.1, rel=0.01)
    assert fit_temperature(scores, scores < 0.5) == pytest.approx(10, rel=0.01)
