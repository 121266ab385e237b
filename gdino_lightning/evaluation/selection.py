"""Which weights to hand over: the rule, and its reasons.

Of many epochs the one with the best score is the best partly by luck, and later ones have forgotten more of what was
pretrained. So of those that cannot be told from the best, the earliest is taken (the one-standard-error rule of Breiman
et al. 1984, section 3.4.3), unless it draws clearly more boxes or its confidence is clearly less true.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gdino_lightning.evaluation.bootstrap import bootstrap_map
from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.over_detection import over_detection
from gdino_lightning.evaluation.records import PictureRecord

MORE_BOXES = 0.25  # boxes per object above the fewest that count as clearly more
LESS_TRUE = 0.05  # expected calibration error above the least that counts as clearly worse


@dataclass(frozen=True)
class Candidate:
    """Weights and what validation says of them. Where less is known, the defaults leave the choice to `score`.

    Attributes:
        score: mAP, or another number of which more is better.
        error: Its standard error.
        boxes_per_object: At the calibrated thresholds.
        ece: Expected calibration error there, of the calibrated probabilities.
    """

    score: float
    error: float = 0.0
    boxes_per_object: float = 1.0
    ece: float = 0.0

    @classmethod
    def measure(
        cls, records: Sequence[PictureRecord], class_names: Sequence[str], calibration: Calibration
    ) -> "Candidate":
        """Measure weights by what they found in the validation pictures that `calibration` was made on."""
        estimate = bootstrap_map(records, len(class_names)).map
        over = over_detection(records, class_names, calibration.thresholds)
        return cls(estimate.value, estimate.error, over["over/boxes_per_object"], calibration.ece_after)

    def to_plain(self) -> dict[str, Any]:
        """Return plain types, as checkpoints hold them; `Candidate(**plain)` undoes it."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """A choice among candidates.

    Attributes:
        index: Place of the chosen one.
        verdicts: Of every candidate, why it was chosen or not.
    """

    index: int
    verdicts: tuple[str, ...]


def choose(candidates: Sequence[Candidate], preferences: Sequence[float] | None = None) -> Choice:
    """Choose in four steps; each looks only at those that the steps before left.

    1. Those whose score is less than the best one's by more than the best one's standard error are out.
    2. Those with clearly more boxes per object than the one with the fewest are out; fewer than one counts as one.
    3. Those whose expected calibration error is clearly above the least are out.
    4. The first is taken, or with `preferences` the one with the highest, of equal ones the first.

    Args:
        candidates: From the earliest on, at least one; no score is NaN.
        preferences: Of each candidate, what decides in the last step.
    """
    best = max(candidates, key=lambda each: each.score)
    least = best.score - best.error
    verdicts = {
        place: f"mAP below {least:.3f}, the best less one standard error"
        for place, each in enumerate(candidates)
        if each.score < least
    }
    boxes = [max(1.0, each.boxes_per_object) for each in candidates]
    verdicts |= _excess(boxes, verdicts, MORE_BOXES, "boxes per object")
    errors = [max(0.0, each.ece) for each in candidates]
    verdicts |= _excess(errors, verdicts, LESS_TRUE, "calibration error")
    left = [place for place in range(len(candidates)) if place not in verdicts]
    index = left[0] if preferences is None else max(left, key=lambda place: preferences[place])
    why = "first" if preferences is None else "highest on the reference"
    verdicts |= {place: f"as good, not the {why}" for place in left}
    verdicts[index] = f"chosen: the {why} of {len(left)} as good" if len(left) > 1 else "chosen: the only one left"
    return Choice(index, tuple(verdicts[place] for place in range(len(candidates))))


def table(names: Sequence[str], candidates: Sequence[Candidate], choice: Choice, **more: Sequence[float]) -> str:
    """Return the choice as a table, one line for each candidate.

    Args:
        names: Of the candidates.
        candidates: What was chosen from.
        choice: The choice.
        **more: Further columns of numbers by name; NaN leaves a cell empty.
    """
    head = ["weights", "mAP", "± standard error", "boxes/object", "calibration error", *more, "verdict"]
    rows = [head, ["---"] * len(head)]
    for place, (name, each) in enumerate(zip(names, candidates, strict=True)):
        numbers = [
            each.score,
            each.error,
            each.boxes_per_object,
            each.ece,
            *(column[place] for column in more.values()),
        ]
        cells = ["" if math.isnan(number) else f"{number:.3f}" for number in numbers]
        rows.append([name, *cells, choice.verdicts[place]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _excess(values: Sequence[float], out: dict[int, str], margin: float, what: str) -> dict[int, str]:
    """Return the verdicts on those of the remaining ones that are above the least by more than `margin`."""
    left = [place for place in range(len(values)) if place not in out]
    least = min(values[place] for place in left)
    return {
        place: f"{values[place]:.2f} {what}, against {least:.2f}" for place in left if values[place] > least + margin
    }
