"""What was found so far, a line for each picture, so that an interrupted run goes on where it stopped.

```
<output>/settings.json             what the results depend on; other settings are refused
<output>/results/rank-0000.jsonl   one file for each process, only ever appended to
```
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gdino_lightning.data.fields import shown
from gdino_lightning.errors import ConfigError, reason_of
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.pictures import UPRIGHT, to_stored
from gdino_lightning.inference.postprocess import Detections

SETTINGS_NAME = "settings.json"
_FOLDER = "results"
_DECIMALS = 2  # of a px


@dataclass(frozen=True)
class PictureResult:
    """What was found in one picture, or why it could not be read.

    Attributes:
        name: Its name among the sources.
        path: Its file; of a frame, the video.
        frame: Number of the frame in the video, from 0; None for a picture.
        width: Of the upright picture in px.
        height: Of the upright picture in px.
        orientation: EXIF orientation of the stored pixels, 1 where they are upright.
        boxes: xyxy_px in the upright picture, best first; each has an area.
        scores: Of each box.
        labels: Of each box, an index into the names of the run.
        error: Why it could not be read; "" where it could.
    """

    name: str
    path: str
    frame: int | None = None
    width: int = 0
    height: int = 0
    orientation: int = UPRIGHT
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    scores: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()
    error: str = ""

    def with_found(self, found: Detections) -> "PictureResult":
        """Return a copy with what was found in the upright picture; boxes without an area are left out."""
        corners = [tuple(round(value, _DECIMALS) for value in box) for box in found.boxes.tolist()]
        rows = zip(corners, found.scores.tolist(), found.labels.tolist(), strict=True)
        kept = [(box, round(score, 5), label) for box, score, label in rows if box[0] < box[2] and box[1] < box[3]]
        boxes, scores, labels = zip(*kept, strict=True) if kept else ((), (), ())
        return replace(self, boxes=boxes, scores=scores, labels=labels)

    def stored_size(self) -> tuple[int, int]:
        """Return (width, height) px of the stored pixels."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)

    def stored_boxes(self) -> list[tuple[float, float, float, float]]:
        """Return the boxes in the stored pixels, which datasets refer to."""
        boxes = torch.tensor(self.boxes, dtype=torch.float64).reshape(-1, 4)
        turned = to_stored(boxes, self.width, self.height, self.orientation).tolist()
        return [
            (round(x1, _DECIMALS), round(y1, _DECIMALS), round(x2, _DECIMALS), round(y2, _DECIMALS))
            for x1, y1, x2, y2 in turned
        ]


@dataclass(frozen=True)
class _Place:
    """Where the line of a picture is."""

    file: Path
    offset: int
    failed: bool


class Journal:
    """The results in an output folder.

    Args:
        output: The folder; made where it is missing.
        settings: What results depend on, in plain types.
        rank: Of this process; the first one writes the settings.

    Raises:
        ConfigError: The folder holds results of other settings or damaged ones, or is a file.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self._rank = rank
        self._folder = output / _FOLDER
        if output.exists() and not output.is_dir():
            raise ConfigError(f"{output}: is a file; choose a folder as --output")
        wanted = json.loads(json.dumps(settings))
        if (output / SETTINGS_NAME).exists():
            _check_settings(output / SETTINGS_NAME, wanted)
        elif rank == 0:
            write_atomic(output / SETTINGS_NAME, json.dumps(wanted, indent=2, ensure_ascii=False).encode())
        self._places: dict[str, _Place] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at what all processes have written until now."""
        for file in sorted(self._folder.glob("*.jsonl")):
            for offset, line in _lines(file):
                name = line.get("name") if isinstance(line, dict) else None
                if not isinstance(name, str):
                    raise _damaged(file, offset, "no line of `detect`")
                known = self._places.get(name)
                if known is None or known.failed:  # what failed may succeed in a later run, never the other way round
                    self._places[name] = _Place(file, offset, bool(line.get("error")))

    def has(self, name: str) -> bool:
        """Tell whether a picture is done; one that failed is not."""
        return name in self._places and not self._places[name].failed

    def results(self, names: Iterable[str]) -> Iterator[PictureResult]:
        """Read what was found in these pictures, failures among them; those that nobody looked at are left out.

        Raises:
            ConfigError: A line is damaged.
        """
        for name in names:
            if place := self._places.get(name):
                with place.file.open("rb") as file:
                    file.seek(place.offset)
                    line = json.loads(file.readline())
                try:
                    found = _result(line)
                except (KeyError, TypeError, ValueError) as error:
                    raise _damaged(place.file, place.offset, f"{type(error).__name__}: {reason_of(error)}") from error
                yield found

    def writer(self) -> "JournalWriter":
        """Return what appends the results of this process."""
        return JournalWriter(self._folder / f"rank-{self._rank:04d}.jsonl")


class JournalWriter:
    """Appends results to one file; what `append` returned from survives a crash of the program.

    Args:
        path: The file; a last line that a crash cut short is removed.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            whole = path.read_bytes().rfind(b"\n") + 1
            with path.open("r+b") as file:
                file.truncate(whole)
        self._path = path

    def append(self, results: Iterable[PictureResult]) -> None:
        """Write one line for each picture, all in one go."""
        lines = [json.dumps(asdict(each)) + "\n" for each in results]
        with self._path.open("ab") as file:
            file.write("".join(lines).encode())


def _check_settings(path: Path, wanted: Mapping[str, Any]) -> None:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); choose another --output") from error
    if not isinstance(saved, dict):
        raise ConfigError(f"{path}: holds no settings of `detect`; choose another --output")
    for name in [*wanted, *(set(saved) - set(wanted))]:
        if saved.get(name) != wanted.get(name):
            raise ConfigError(
                f"{path.parent}: holds results of {shown(name)[1:-1]} {_brief(saved.get(name))}, asked for is "
                f"{_brief(wanted.get(name))}: "
                "choose another --output, or remove the folder to start anew"
            )


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Read offset and content of every whole line."""
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                try:
                    yield offset, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise _damaged(file, offset, str(error)) from error
            offset += len(line)


def _damaged(file: Path, offset: int, reason: str) -> ConfigError:
    return ConfigError(f"{file}: damaged at byte {offset} ({reason}); remove that line")


def _result(line: dict[str, Any]) -> PictureResult:
    boxes = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in line["boxes"])
    scores, labels = tuple(map(float, line["scores"])), tuple(map(int, line["labels"]))
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
    return PictureResult(**{**line, "boxes": boxes, "scores": scores, "labels": labels})
