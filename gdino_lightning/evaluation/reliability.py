"""Do scores say how often detections are right? Reliability curves, their error, and the temperature that mends them.

Letters: K detections.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logit

from gdino_lightning.evaluation.records import Flags

NUM_BINS = 10
UNDEFINED = -1.0  # as COCO has it for what cannot be measured
_COOLEST, _HOTTEST = 0.1, 10.0  # temperatures; hits that all score above misses would drive it to 0

Reals = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Bin:
    """Detections of similar confidence.

    Attributes:
        low: Confidences in the bin are above this (or equal, in the first bin),
        high: and at most this.
        count: Detections in the bin.
        confidence: Their mean confidence; 0 where there are none.
        accuracy: The share of them that are hits; 0 where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """A reliability curve.

    Attributes:
        ece: Expected calibration error, 0..1; -1 where there is no detection.
        bins: `NUM_BINS` bins of equal width over 0..1.
    """

    ece: float
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, confidences: Reals, hits: Flags) -> "Reliability":
        """Compare confidences with hits, both (K,); Guo et al. 2017, "On Calibration of Modern Neural Networks"."""
        edges = np.arange(NUM_BINS + 1) / NUM_BINS
        place = np.searchsorted(edges[1:-1], confidences)
        counts = np.bincount(place, minlength=NUM_BINS)
        share = 1 / np.maximum(counts, 1)
        confidence = np.bincount(place, confidences, NUM_BINS) * share
        accuracy = np.bincount(place, hits, NUM_BINS) * share
        gap = float((counts * np.abs(confidence - accuracy)).sum())
        columns = (each.tolist() for each in (edges[:-1], edges[1:], counts, confidence, accuracy))
        return cls(gap / len(hits) if len(hits) else UNDEFINED, tuple(map(Bin, *columns)))


def fit_temperature(scores: Reals, hits: Flags) -> float:
    """Return the temperature under which the hits are most likely (Guo et al. 2017, section 4.2).

    Args:
        scores: (K,) raw, in 0..1.
        hits: (K,).

    Returns:
        Within 0.1..10; 1, which changes nothing, without hits or without misses: then no temperature is the likeliest.
    """
    if hits.all() or not hits.any():
        return 1.0
    tiny = np.finfo(np.float32).eps  # scores are float32: 0 and 1 have no logit
    signed = logit(np.asarray(scores, np.float64).clip(tiny, 1 - tiny)) * np.where(hits, 1, -1)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    best = minimize_scalar(loss, bounds=(np.log(_COOLEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(best.x))
