"""What the editing part does, without the page: what is shown is removed or painted over.

Letters: H, W pixels.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gdino_lightning.editing.edit import edit
from gdino_lightning.editing.fill import Fill
from gdino_lightning.editing.masks import Outline
from gdino_lightning.editing.pictures import write_picture
from gdino_lightning.errors import ConfigError
from gdino_lightning.inference.draw import Image, shrink
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.web.session import SHOWN_SIDE, Looked, Thresholds, counted, found_at, read_upload


@dataclass(frozen=True)
class EditView:
    """What the page shows of an edited picture.

    Attributes:
        before: (H, W, 3) uint8 RGB, shrunk for the screen.
        after: The same, edited.
        summary: What was edited, in Markdown.
    """

    before: Image
    after: Image
    summary: str


def edit_shown(
    looked: Looked | None,
    thresholds: Thresholds,
    names: Collection[str],
    fill: Fill,
    prompt: str,
    outline: Outline,
    output: Path,
) -> EditView:
    """Edit what is shown of some phrases, and write the result in full size as a PNG.

    Args:
        looked: The picture that was looked at.
        thresholds: Those of the boxes that are shown.
        names: Of the phrases to edit.
        fill: The backend.
        prompt: What shall be seen instead; empty: whatever suits the surroundings.
        outline: How boxes become regions.
        output: File to write.

    Raises:
        ConfigError: Nothing was looked at or is shown, or the backend cannot do what is asked for.
        DatasetError: The upload cannot be read any more.
    """
    if looked is None:
        raise ConfigError("nothing is found yet: press Detect first; what it shows can be edited")
    found = _of_phrases(found_at(looked, thresholds), names)
    if not len(found):
        raise ConfigError("none of these phrases is shown at these thresholds: choose others, or lower the thresholds")
    source = read_upload(looked.path, looked.name)
    edited = edit(source.rgb, found, fill, [prompt] * len(found.names) if prompt else None, outline)
    write_picture(output, replace(source, rgb=edited.picture))
    untouched = float((edited.mask == 0).mean())
    summary = f"{counted(found.texts())}. {untouched:.1%} of the pixels are untouched."
    return EditView(looked.shown, shrink(edited.picture, SHOWN_SIDE), summary)


def _of_phrases(found: Detections, names: Collection[str]) -> Detections:
    return found.select(torch.tensor([text in names for text in found.texts()], dtype=torch.bool))
