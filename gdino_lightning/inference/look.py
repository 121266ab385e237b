"""One run over pictures and videos: what is missing is detected, then the files of all are written."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gdino_lightning.errors import ConfigError, DatasetError, listed
from gdino_lightning.inference.answers import check_shares
from gdino_lightning.inference.batches import LookBatch, picture_loader, plan_batches
from gdino_lightning.inference.journal import Journal, JournalWriter, PictureResult
from gdino_lightning.inference.picture_files import PICTURES, VOC, YOLO, PictureFiles
from gdino_lightning.inference.pictures import read_upright
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.sources import Source
from gdino_lightning.inference.tables import COCO, CSV, write_coco, write_csv
from gdino_lightning.inference.videos import DrawnVideo, count_frames, frame_name, video_frames
from gdino_lightning.inference.words import Phrases
from gdino_lightning.model.detector import GroundingDetector

SAVES = (PICTURES, COCO, CSV, VOC, YOLO)
_SAMPLES = 64  # values of each tensor that tell weights apart


@dataclass(frozen=True)
class Cut:
    """What of the answers is kept; None as in `Answers.detections`."""

    box_threshold: float | None = None
    text_threshold: float | None = None
    nms_iou: float | None = None
    agnostic_nms: float | None = None


@dataclass(frozen=True)
class Summary:
    """What is in the output folder.

    Attributes:
        pictures: Pictures and frames that were looked at.
        boxes: Found in them.
        failures: A line for each file that could not be read.
    """

    pictures: int
    boxes: int
    failures: tuple[str, ...]


class LookRun:
    """Detects in every picture once, whatever was interrupted before; keeps the results in `output`.

    Args:
        predictor: The model.
        phrases: What to look for; None for the weights' own.
        sources: Pictures and videos.
        output: Folder for the results.
        cut: What of the answers is kept.
        saves: Which of `SAVES` to write.
        about: More that the results depend on, in plain types: another run with other values is refused.
        rank: Of this process.

    Raises:
        ConfigError: A setting is out of range, or `output` holds results of other settings.
        PromptError: The phrases cannot be used.
    """

    def __init__(
        self,
        predictor: Predictor,
        phrases: Phrases | None,
        sources: Sequence[Source],
        output: Path,
        *,
        cut: Cut,
        saves: Sequence[str],
        about: dict[str, Any],
        rank: int = 0,
    ) -> None:
        if unknown := sorted(set(saves) - set(SAVES)):
            raise ConfigError(f"save: {listed(unknown)} is nothing that can be saved; choose among {listed(SAVES)}")
        check_shares(**asdict(cut))
        self.predictor, self.question = predictor, predictor.question(phrases)
        self._sources, self._output, self._cut, self._saves = sources, output, cut, saves
        self._files = PictureFiles(output, saves, self.question.names)
        self._files.check_names(source.name for source in sources if not source.is_video)
        settings = about | {
            "weights_digest": _digest(predictor.detector),
            "phrases": self.question.wordings,
            "size": asdict(predictor.sizing),
        }
        self._journal = Journal(output, settings | asdict(cut), rank)
        self._writer: JournalWriter = self._journal.writer()

    @property
    def videos(self) -> list[Source]:
        """The videos among the sources."""
        return [source for source in self._sources if source.is_video]

    def batches(self, batch_size: int) -> list[list[Source]]:
        """Deal the pictures that nobody looked at yet into batches of one canvas."""
        missing = [each for each in self._sources if not each.is_video and not self._journal.has(each.name)]
        return plan_batches(missing, self.predictor.sizing, batch_size)

    def look(self, batch: LookBatch) -> list[PictureResult]:
        """Return what is found in the pictures of a batch, and the failures."""
        if not batch.rgb:
            return batch.failed
        sizes = [(rgb.shape[1], rgb.shape[0]) for rgb in batch.rgb]
        answers = self.predictor.answer(batch.pixels, batch.mask, sizes, self.question)
        found = [each.detections(**asdict(self._cut)) for each in answers]
        return [blank.with_found(one) for blank, one in zip(batch.blank, found, strict=True)] + batch.failed

    def keep(self, batch: LookBatch, results: Sequence[PictureResult]) -> None:
        """Write what belongs to these pictures, then note that they are done."""
        for result, rgb in zip(results, batch.rgb, strict=False):  # failures have no picture
            self._files.write(result, rgb)
        self._writer.append(results)

    def run(self, batch_size: int, num_workers: int = 0) -> None:
        """Look at everything that is missing, in this process."""
        batches = self.batches(batch_size)
        with tqdm(total=sum(map(len, batches)), desc="detect", unit="picture", disable=None, leave=False) as bar:
            for batch in picture_loader(batches, self.predictor.sizing, num_workers):
                results = self.look(batch)
                self.keep(batch, results)
                bar.update(len(results))
        for video in self.videos:
            self._look_at_video(video, batch_size)

    def finish(self) -> Summary:
        """Write the files that hold all results, and what earlier runs did not write for each picture.

        Raises:
            OSError: A file cannot be written.
        """
        self._journal.refresh()
        for result in self._results():
            if not result.error and result.frame is None and not self._files.are_there(result):
                self._files.write(result, read_upright(Path(result.path))[0])
        for video in self.videos:
            self._write_video(video)
        self._files.write_class_list()
        if COCO in self._saves:
            write_coco(self._output, self._found(), self.question.names)
        if CSV in self._saves:
            write_csv(self._output, self._found(), self.question.names)
        failures = tuple(result.error for result in self._results() if result.error)
        counts = [len(result.boxes) for result in self._found()]
        return Summary(len(counts), sum(counts), failures)

    def _look_at_video(self, video: Source, batch_size: int) -> None:
        """Look at the frames that nobody looked at yet; where no frame can be read, note why."""
        if self._journal.has(video.name):
            return
        frames = tqdm(
            video_frames(video), video.name, count_frames(video.path), unit="frame", disable=None, leave=False
        )
        missing = ((blank, rgb) for blank, rgb in frames if not self._journal.has(blank.name))
        try:
            while chosen := list(islice(missing, batch_size)):
                self._writer.append(self.look(LookBatch.of(chosen, self.predictor.sizing, [])))
            self._writer.append([PictureResult(video.name, str(video.path))])
        except DatasetError as error:
            self._writer.append([PictureResult(video.name, str(video.path), error=str(error))])

    def _write_video(self, video: Source) -> None:
        """Draw a video and write the files of its frames, where one is missing."""
        path = self._output / PICTURES / (video.name if video.name.endswith(".mp4") else f"{video.name}.mp4")
        wanted = PICTURES in self._saves and not path.is_file()
        results = self._journal.results(self._frames(video))
        if not wanted and all(self._files.are_there(each) for each in results):
            return
        drawn = DrawnVideo(path, video.path)
        results = self._journal.results(self._frames(video))
        for result, (_, rgb) in zip(results, video_frames(video), strict=False):
            self._files.write(result, rgb)
            if wanted:
                drawn.add(self._files.drawing(result, rgb))
        drawn.close()

    def _frames(self, video: Source) -> Iterator[str]:
        """The names of the frames that were looked at."""
        names = (frame_name(video, number) for number in count())
        return takewhile(self._journal.has, names)

    def _results(self) -> Iterator[PictureResult]:
        """The results of all sources, in their order, failures among them."""
        for source in self._sources:
            if not source.is_video or not self._journal.has(source.name):
                yield from self._journal.results([source.name])
            else:
                yield from self._journal.results(self._frames(source))

    def _found(self) -> Iterator[PictureResult]:
        return (result for result in self._results() if not result.error)


def _digest(detector: GroundingDetector) -> str:
    """Return a short text that differs between weights; looks at some values of each tensor."""
    digest = hashlib.sha256()
    for name, tensor in detector.state_dict().items():
        values = tensor.flatten()
        digest.update(name.encode())
        digest.update(values[:: max(1, len(values) // _SAMPLES)].double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
