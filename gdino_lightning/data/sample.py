"""Drawn datasets on the disk: PNG pictures and Pascal VOC XML as published, the same bytes for the same seed.

What they show is in `subjects.py`; the sample dataset is that of faces with and without masks.
"""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from gdino_lightning.data.subjects import Drawn, Subject, draw, name_of
from gdino_lightning.errors import DatasetError
from gdino_lightning.files import refuse_unwritable, write_atomic

logger = logging.getLogger(__name__)
_MARKER = "sample.json"  # says which sample a folder holds, or is being given
_VERSION = 1  # of the drawing: another version gives other pictures
_FOLDERS = {"images": ".png", "annotations": ".xml"}
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 4)  # higher levels take thrice the time for 8 % fewer bytes
_MOST_WORKERS = 8
_FEW = 48  # pictures that one process draws sooner than others start

# published annotations begin with an empty line and end without one
_HEADER = """
<annotation>
    <folder>images</folder>
    <filename>{name}.png</filename>
    <size>
        <width>{width}</width>
        <height>{height}</height>
        <depth>3</depth>
    </size>
    <segmented>0</segmented>
"""
_OBJECT = """    <object>
        <name>{label}</name>
        <pose>Unspecified</pose>
        <truncated>0</truncated>
        <occluded>0</occluded>
        <difficult>0</difficult>
        <bndbox>
            <xmin>{box[0]}</xmin>
            <ymin>{box[1]}</ymin>
            <xmax>{box[2]}</xmax>
            <ymax>{box[3]}</ymax>
        </bndbox>
    </object>
"""


def draw_sample(
    root: Path, *, num_images: int = 853, seed: int = 0, subject: Subject = "masks", progress: bool = True
) -> None:
    """Draw a dataset into `root/images/*.png` and `root/annotations/*.xml` (Pascal VOC).

    Picture i follows from `seed` and i alone: the bytes are the same at every run and for every number of
    processes. Files that are there already are kept, so an interrupted run is finished by running it again.

    Args:
        root: folder to make or to finish.
        num_images: number of pictures.
        seed: another seed draws another dataset.
        subject: what is drawn: faces with and without masks, or scenes of the open world.
        progress: whether to show a progress bar.

    Raises:
        DatasetError: `num_images` or `seed` is out of range, or `root` holds another dataset or cannot be written.
        OSError: The disk is full; the message names the file.
    """
    if num_images < 1:
        raise DatasetError(f"num_images is {num_images}: draw at least 1 picture")
    if seed < 0:
        raise DatasetError(f"seed is {seed}: use 0 or a positive whole number")
    with refuse_unwritable(root):
        _claim(root, _identity(subject, num_images, seed), {name_of(subject, i) for i in range(num_images)})
    missing = _missing(root, subject, num_images)
    if missing:
        _draw(root, subject, seed, missing, workers=_workers(len(missing)), progress=progress)
    logger.info("%s: %d pictures, %d of them drawn now", root, num_images, len(missing))


def voc_xml(drawn: Drawn) -> str:
    """Annotation of a drawn picture, exactly as published."""
    height, width, _ = drawn.pixels.shape
    header = _HEADER.format(name=drawn.name, width=width, height=height)
    objects = [_OBJECT.format(label=label, box=box) for label, box in drawn.boxes]
    return "".join((header, *objects, "</annotation>"))


def _identity(subject: Subject, num_images: int, seed: int) -> dict[str, object]:
    identity: dict[str, object] = {"version": _VERSION, "seed": seed, "num_images": num_images}
    return identity if subject == "masks" else identity | {"subject": subject}  # masks were there before subjects


def _claim(root: Path, identity: Mapping[str, object], names: Set[str]) -> None:
    """Mark a folder as the one of a sample, with its names of files; refuse one that holds anything else."""
    fix = "choose another --root or delete this folder"
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file, not a folder: choose another --root")
    marker = root / _MARKER
    if marker.exists():
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{marker}: not a sample's marker ({error}): {fix}") from error
        if found != identity:
            raise DatasetError(f"{root}: holds another sample ({found} instead of {identity}): {fix}")
    expected = names if marker.exists() else set()
    for folder, suffix in _FOLDERS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((root / folder).iterdir()):
            if path.name.startswith("."):
                continue  # the system's, or left by an interrupted run
            if path.suffix != suffix or path.stem not in expected:
                raise DatasetError(f"{root / folder}: {path.name} is not of this sample: {fix}")
    if not marker.exists():
        write_atomic(marker, (json.dumps(identity) + "\n").encode())


def _missing(root: Path, subject: Subject, num_images: int) -> list[int]:
    there = {folder: {path.stem for path in (root / folder).iterdir()} for folder in _FOLDERS}
    return [i for i in range(num_images) if any(name_of(subject, i) not in stems for stems in there.values())]


def _workers(pictures: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if pictures <= _FEW else min(cores, _MOST_WORKERS)


def _draw(root: Path, subject: Subject, seed: int, indices: Sequence[int], *, workers: int, progress: bool) -> None:
    done = _draw_here if workers == 1 else partial(_draw_in_processes, workers=workers)
    bar = tqdm(
        done(partial(_draw_one, root, subject, seed), indices),
        total=len(indices),
        desc="draw",
        unit="picture",
        disable=not progress,
    )
    for _ in bar:
        pass


def _draw_here(draw_one: Callable[[int], None], indices: Sequence[int]) -> Iterator[int]:
    with _one_thread():
        for index in indices:
            draw_one(index)
            yield index


def _draw_in_processes(draw_one: Callable[[int], None], indices: Sequence[int], workers: int) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")  # forking a process that has threads can hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        futures = {pool.submit(draw_one, index): index for index in indices}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # one core per process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _draw_one(root: Path, subject: Subject, seed: int, index: int) -> None:
    drawn = draw(subject, seed, index)
    colours = cv2.COLOR_RGBA2BGRA if drawn.pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, encoded = cv2.imencode(".png", cv2.cvtColor(drawn.pixels, colours), _PNG_OPTIONS)
    with refuse_unwritable(root):
        write_atomic(root / "images" / f"{drawn.name}.png", encoded.tobytes())
        write_atomic(root / "annotations" / f"{drawn.name}.xml", voc_xml(drawn).encode())
