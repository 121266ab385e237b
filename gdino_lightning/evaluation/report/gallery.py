"""The pictures that a model is right about and those that it is not, drawn with truth and prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.images import read_rgb
from gdino_lightning.evaluation.best_worst import PictureScore, best_and_worst, picture_score
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.report.page import Picture, Section
from gdino_lightning.evaluation.report.sections import Subject
from gdino_lightning.inference.draw import Image, annotate, contact_sheet, encode_jpeg, shrink, side_by_side

_MAX_SIDE, _MIN_SIDE = 560, 300  # px of a drawn picture: two of them, with readable text, fit beside each other
_QUALITY = 80  # of JPEG: the page holds all pictures


def gallery_sections(subject: Subject, paths: Sequence[Path], count: int) -> tuple[list[Section], dict[str, Image]]:
    """Draw the best and the worst pictures by their F1 at the working point.

    Args:
        subject: The split.
        paths: The stored pictures, by image id.
        count: Pictures of each kind, at most.

    Returns:
        A section for each kind that has pictures, and its contact sheet by file name.

    Raises:
        DatasetError: A picture cannot be read any more.
    """
    records = {record.image_id: record for record in subject.shown}
    chosen = best_and_worst([picture_score(record) for record in subject.shown], count)
    sections, sheets = [], {}
    for kind, scores in zip(("best", "worst"), chosen, strict=True):
        drawn = [_draw(records[score.image_id], subject.names, paths[score.image_id]) for score in scores]
        if drawn:
            sections.append(_section(kind, subject, scores, drawn, paths))
            sheets[f"{kind}_pictures"] = contact_sheet(drawn, columns=3, cell=640)
    return sections, sheets


def _section(
    kind: str, subject: Subject, scores: Sequence[PictureScore], drawn: Sequence[Image], paths: Sequence[Path]
) -> Section:
    pictures = [
        Picture(
            f"{kind}_{place:02d}",
            encode_jpeg(image, _QUALITY),
            f"{paths[score.image_id].name}: ground truth on the left, prediction on the right. {_words(score)}.",
            f"{place}. {paths[score.image_id].name}: {_words(score)}",
        )
        for place, (score, image) in enumerate(zip(scores, drawn, strict=True), start=1)
    ]
    order = {"best": "highest F1, those with more hits first", "worst": "lowest F1, those with more errors first"}
    return Section(
        f"{kind.capitalize()} pictures",
        f"The {len(drawn)} with the {order[kind]}, at {subject.working_point}.",
        pictures=pictures,
    )


def _words(score: PictureScore) -> str:
    return f"F1 {score.f1:.2f}, {score.hits} right, {score.false_positives} false, {score.misses} missed"


def _draw(record: PictureRecord, class_names: Sequence[str], path: Path) -> Image:
    whole = read_rgb(path)
    image = shrink(whole, _MAX_SIDE)
    factor = image.shape[1] / whole.shape[1]

    def annotated(boxes: npt.NDArray[np.float32], labels: list[int], scores: list[float] | None = None) -> Image:
        return annotate(image, boxes * factor, labels, class_names, scores, min_side=_MIN_SIDE)

    truth = annotated(record.truth_boxes, record.truth_labels.tolist())
    prediction = annotated(record.boxes, record.labels.tolist(), record.scores.tolist())
    return side_by_side(truth, prediction, class_names)
