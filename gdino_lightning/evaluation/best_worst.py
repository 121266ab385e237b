"""Which pictures a model is right about and which it is not: one score for each, to choose what to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from gdino_lightning.evaluation.records import NO_TRUTH, PictureRecord, match


@dataclass(frozen=True)
class PictureScore:
    """What is right and wrong in one picture at the working point."""

    image_id: int
    hits: int
    false_positives: int
    misses: int

    @property
    def errors(self) -> int:
        """False positives and misses."""
        return self.false_positives + self.misses

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is nothing and nothing was found."""
        return 2 * self.hits / (2 * self.hits + self.errors) if self.hits or self.errors else 1.0


def picture_score(record: PictureRecord, iou: float = 0.5) -> PictureScore:
    """Score one picture at the working point; a detection is right if it overlaps a true box of its class by `iou`."""
    hits = int((match(record, iou) != NO_TRUTH).sum())
    return PictureScore(record.image_id, hits, len(record.labels) - hits, len(record.truth_labels) - hits)


def best_and_worst(scores: Sequence[PictureScore], count: int) -> tuple[list[PictureScore], list[PictureScore]]:
    """Choose the pictures with the highest F1 and those with the lowest.

    Of equal F1 the one with more hits is the better, and the one with more errors the worse: a crowd tells more than a
    single object. Where there are fewer than 2 `count` pictures, none is in both lists.

    Args:
        scores: One for each picture.
        count: Pictures in each list, at most.

    Returns:
        The best, best first, and the worst, worst first.
    """
    ranked = sorted(scores, key=lambda score: (-score.f1, -score.hits, score.image_id))
    best = ranked[: min(count, (len(ranked) + 1) // 2)]
    worst = sorted(ranked[len(best) :], key=lambda score: (score.f1, -score.errors, score.image_id))
    return best, worst[:count]
