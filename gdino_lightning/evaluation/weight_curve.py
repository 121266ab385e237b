"""The curve of scores between pretrained and fine-tuned weights, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gdino_lightning.evaluation.selection import Candidate


def plot_weight_curve(
    picture: Path, alphas: Sequence[float], candidates: Sequence[Candidate], chosen: int, reference: Sequence[float]
) -> None:
    """Draw mAP over the share of fine-tuned weights, with its standard error, and that of a reference if given.

    Args:
        picture: The PNG to write; its folder is made.
        alphas: Shares, 0 the pretrained weights, 1 the fine-tuned ones.
        candidates: What validation says of each.
        chosen: Which one is chosen.
        reference: Zero-shot mAP of each on another dataset; empty without one.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    scores, errors = [each.score for each in candidates], [each.error for each in candidates]
    axis.errorbar(alphas, scores, errors, marker="o", capsize=3, label="validation, ± one standard error")
    if reference:
        axis.plot(alphas, reference, marker="s", linestyle="--", label="reference, zero-shot")
    axis.axvline(alphas[chosen], color="black", linewidth=0.8, linestyle=":", label=f"chosen: {alphas[chosen]:.2f}")
    axis.set(xlabel="alpha: 0 pretrained, 1 fine-tuned", ylabel="mAP", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)
