"""Videos: frames in, a drawn video out."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from gdino_lightning.errors import DatasetError
from gdino_lightning.files import part_of
from gdino_lightning.inference.draw import Image
from gdino_lightning.inference.journal import PictureResult
from gdino_lightning.inference.pictures import Pixels
from gdino_lightning.inference.sources import Source

_USUAL_RATE = 25.0  # frames a second, where a video does not say


def frame_name(source: Source, number: int) -> str:
    """Return the name of a frame, as a picture's; frames count from 0."""
    return f"{source.name}-{number:06d}.jpg"


def video_frames(source: Source) -> Iterator[tuple[PictureResult, Pixels]]:
    """Read the frames of a video, upright as a player shows them: a blank result and (H, W, 3) uint8 RGB each.

    Raises:
        DatasetError: No frame can be read.
    """
    capture = cv2.VideoCapture(str(source.path))
    number = 0
    try:
        while (read := capture.read())[0]:
            rgb = np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), dtype=np.uint8)
            name = frame_name(source, number)
            yield PictureResult(name, str(source.path), number, width=rgb.shape[1], height=rgb.shape[0]), rgb
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise DatasetError(f"{source.path}: no frame can be read; check the file, or convert it to mp4")


def count_frames(path: Path) -> int | None:
    """Return how many frames a video says it has; None where it does not say."""
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) or None
    finally:
        capture.release()


class DrawnVideo:
    """Writes frames to an mp4 file of the rate of another video; it takes its place when it is closed.

    Args:
        path: To write.
        like: The video whose rate it gets.

    Raises:
        OSError: OpenCV cannot write it.
    """

    def __init__(self, path: Path, like: Path) -> None:
        self._path, self._part = path, part_of(path).with_suffix(".mp4")  # OpenCV goes by the suffix
        capture = cv2.VideoCapture(str(like))
        self._rate = capture.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        capture.release()
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: Image) -> None:
        """Append a frame, (H, W, 3) uint8 RGB; all have one size."""
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, size)
            if not self._writer.isOpened():
                raise OSError(None, "OpenCV cannot write a video there", str(self._path))
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Put the video in its place."""
        if self._writer is not None:
            self._writer.release()
            self._part.replace(self._path)
