"""The numbers of a protocol as papers have them."""

from collections.abc import Mapping


def score_row(title: str, scores: Mapping[str, float]) -> str:
    """Return a table of one row, in percent; a dash stands for what is undefined.

    Args:
        title: Whose numbers, by what.
        scores: They; below 0 where there was nothing to score by.
    """
    cells = ["-" if value < 0 else f"{100 * value:.1f}" for value in scores.values()]
    return "\n".join([f"{title}:", f"| {' | '.join(scores)} |", "|---" * len(cells) + "|", f"| {' | '.join(cells)} |"])
