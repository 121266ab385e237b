"""What the page does, without the page: an upload is looked at once, and shown again with every move of a slider.

Letters: K detections, H, W pixels.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdino_lightning.editing.pictures import PictureFile, read_picture
from gdino_lightning.errors import DatasetError, PromptError
from gdino_lightning.inference.draw import Image, annotate, colors_of, shrink
from gdino_lightning.inference.pictures import read_upright_size
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.predictor import Answers, Predictor

MAX_MEGAPIXELS = 50  # of an upload: what the largest phone cameras take
SHOWN_SIDE = 1600  # px: a longer side is shrunk for the screen
HEADERS = ("phrase", "score", "x1", "y1", "x2", "y2")
NOTHING = "**No boxes** at these thresholds: move the box threshold to the left, or try other words."

Row = tuple[str, float, float, float, float, float]  # phrase, score and xyxy_px, as `HEADERS` names them


@dataclass(frozen=True)
class Thresholds:
    """What the sliders ask for; None leaves the choice to the weights (see `Answers.detections`)."""

    box_threshold: float | None = None
    text_threshold: float | None = None
    nms_iou: float | None = None


@dataclass(frozen=True)
class Looked:
    """A picture that the model was asked about, kept while its page is open.

    Attributes:
        name: Of the uploaded file, as the user knows it.
        path: Where the upload is stored.
        size: (width, height) px of the picture, to which boxes refer.
        shown: (H, W, 3) uint8 RGB, shrunk for the screen, so that a session holds no large pictures.
        answers: What the model said, before any threshold.
    """

    name: str
    path: Path
    size: tuple[int, int]
    shown: Image
    answers: Answers

    @property
    def names(self) -> tuple[str, ...]:
        """The phrases that were asked for."""
        return self.answers.found.names


@dataclass(frozen=True)
class View:
    """What the page shows of a picture at certain thresholds.

    Attributes:
        picture: (H, W, 3) uint8 RGB with the boxes drawn.
        rows: The table, best score first.
        summary: The count, in Markdown.
        json: The same as a JSON document, for download.
    """

    picture: Image
    rows: list[Row]
    summary: str
    json: str


def own_phrases(predictor: Predictor) -> str:
    """Return the wordings of the weights as one text to edit; "" where they have none."""
    return " . ".join(predictor.phrases)


def asked_phrases(predictor: Predictor, text: str) -> str | None:
    """Return the typed phrases, or None where they are those of the weights (to which their thresholds belong).

    Raises:
        PromptError: Nothing is typed, and the weights have no phrases of their own.
    """
    typed = _joined(text)
    if typed and typed != _joined(own_phrases(predictor)):
        return typed
    if not predictor.phrases:
        raise PromptError("no phrases: type what to look for, such as `cat . red car`")
    return None


def _joined(text: str) -> str:
    """Make one text of several lines, each a phrase or phrases with " . " between them."""
    lines = (" ".join(line.split()).strip(" .") for line in text.splitlines())
    return " . ".join(line for line in lines if line)


def look(predictor: Predictor, upload: Mapping[str, Any] | None, text: str) -> Looked:
    """Ask the model about an upload, once.

    Args:
        predictor: The model.
        upload: The file as Gradio describes it: `path` and, where known, `orig_name`.
        text: The typed phrases.

    Raises:
        DatasetError: There is no picture, it cannot be read, or it is above `MAX_MEGAPIXELS`.
        PromptError: The phrases cannot be used.
    """
    if not upload or not upload.get("path"):
        raise DatasetError("no picture: upload one, paste it or take it with the webcam")
    path = Path(upload["path"])
    name = Path(upload.get("orig_name") or path.name).name
    phrases = asked_phrases(predictor, text)
    picture = read_upload(path, name).rgb
    answers = predictor.look(picture, phrases)
    return Looked(name, path, (picture.shape[1], picture.shape[0]), shrink(picture, SHOWN_SIDE), answers)


def read_upload(path: Path, name: str) -> PictureFile:
    """Read a stored upload; errors call it by its own name.

    Raises:
        DatasetError: It cannot be read, or is above `MAX_MEGAPIXELS`.
    """
    try:
        width, height = read_upright_size(path)
        if width * height > MAX_MEGAPIXELS * 1_000_000:
            raise DatasetError(f"{path}: {width}x{height} px is above {MAX_MEGAPIXELS} megapixels; scale it down")
        return read_picture(path)
    except DatasetError as error:  # where uploads are stored says nothing to who uploaded
        raise DatasetError(str(error).replace(str(path), name)) from error


def view(looked: Looked, thresholds: Thresholds) -> View:
    """Return what is found at these thresholds; the model is not run."""
    found = found_at(looked, thresholds)
    rows = _rows(found)
    factor = looked.shown.shape[1] / looked.size[0]
    picture = annotate(
        looked.shown,
        np.asarray(found.boxes.cpu()) * factor,
        found.labels.tolist(),
        found.names,
        found.scores.tolist(),
        colors=colors_of(found.names),
    )
    return View(picture, rows, counted(found.texts()) or NOTHING, _json(looked, thresholds, rows))


def found_at(looked: Looked, thresholds: Thresholds) -> Detections:
    """Return the boxes that are shown at these thresholds.

    Raises:
        ConfigError: One is not from 0 to 1.
    """
    return looked.answers.detections(**asdict(thresholds))


def counted(texts: Sequence[str]) -> str:
    """Say how many boxes there are, and how many of each phrase, in Markdown; "" for none."""
    if not texts:
        return ""
    counts = ", ".join(f"{number} {text}" for text, number in Counter(texts).most_common())
    return f"**{len(texts)} {'box' if len(texts) == 1 else 'boxes'}**: {counts}"


def _rows(found: Detections) -> list[Row]:
    rows: list[Row] = []
    for text, score, box in zip(found.texts(), found.scores.tolist(), found.boxes.tolist(), strict=True):
        x1, y1, x2, y2 = (round(side, 1) for side in box)
        rows.append((text, round(score, 3), x1, y1, x2, y2))
    return sorted(rows, key=lambda row: -row[1])


def _json(looked: Looked, thresholds: Thresholds, rows: list[Row]) -> str:
    width, height = looked.size
    document = {
        "picture": looked.name,
        "width": width,
        "height": height,
        "thresholds": asdict(thresholds),
        "detections": [{"phrase": row[0], "score": row[1], "box_xyxy_px": row[2:]} for row in rows],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
