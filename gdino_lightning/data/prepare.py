"""`gdino prepare`: annotations and pictures of any accepted format in, tables and splits out.

```
root/train/images/*  annotations.csv  (captions.jsonl)  (labels/*.xml)      root/test/, root/val/ likewise
root/prepare.json
```

Everything is checked before anything is written. The result follows from the source's contents and the
parameters alone, whatever was in `root` before and however often it was interrupted.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from gdino_lightning.data.arrange import Arranged, OnBad, SplitMethod, Splits, arrange, labels_of
from gdino_lightning.data.pictures import pack_split, picture_of
from gdino_lightning.data.publish import Content, publish, recorded_source
from gdino_lightning.data.recognise import open_source
from gdino_lightning.data.source import SPLITS
from gdino_lightning.data.summary import PrepareSummary
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.data.writers.base import Writer
from gdino_lightning.data.writers.coco import COCO
from gdino_lightning.data.writers.odvg import ODVG
from gdino_lightning.data.writers.tables import TABLES
from gdino_lightning.data.writers.voc import VOC
from gdino_lightning.data.writers.yolo import YOLO
from gdino_lightning.errors import DatasetError

LABELS_FOLDER = "labels"
_OWN_FOLDERS = (*SPLITS, "images", "labels", "annotations", "JPEGImages", "Annotations", "ImageSets")
WRITERS: dict[str, Writer] = {"coco": COCO, "yolo": YOLO, "voc": VOC, "odvg": ODVG}

To = Literal["coco", "yolo", "voc", "odvg"]


def prepare(
    source: Path,
    root: Path,
    *,
    num_train: float = 600,
    seed: int = 0,
    split: SplitMethod | None = None,
    otherwise: SplitMethod = "random",
    on_bad: OnBad = "error",
    source_format: str | None = None,
    progress: bool = True,
) -> PrepareSummary:
    """Convert a dataset to the project's tables, split into train and test, and val where the source has one.

    Args:
        source: Zip archive or folder, of any format in `gdino_lightning.data.recognise`.
        root: Folder to fill with `train/` and `test/`.
        num_train: Pictures that go to train, or their share below 1; the others go to test. Not used where the
            splits are given.
        seed: Picks the split.
        split: `given` (the source's own), `random`, `grouped` (near-identical pictures stay on one side) or
            `stratified` (grouped, and train and test get the same share of every class's boxes). Groups may make
            train differ from `num_train`, by as little as possible. None: `given` where the source has splits.
        otherwise: What None means where it has none.
        on_bad: What to do with bad boxes, pictures and annotations: `error` lists them and writes nothing,
            `skip` leaves them out and counts them.
        source_format: The format of the source; None recognises it.
        progress: Show progress bars on a terminal.

    Raises:
        DatasetError: The source, `num_train` or `root` cannot be used.
        ConfigError: Another process fills `root`.
        OSError: The disk is full.
    """
    _check_root(source, root)
    with open_source(source, source_format) as opened:
        arranged = arrange(
            opened,
            method=split,
            otherwise=otherwise,
            num_train=num_train,
            seed=seed,
            on_bad=on_bad,
            only_labelled=True,
            progress=progress,
        )
        recorded = _parameters(num_train, seed, arranged.method, on_bad)
        return _publish(arranged, root, TABLES, recorded, progress=progress)


def convert(
    source: Path,
    root: Path,
    to: To,
    *,
    num_train: float | None = None,
    seed: int = 0,
    split: SplitMethod | None = None,
    on_bad: OnBad = "error",
    source_format: str | None = None,
    progress: bool = True,
) -> PrepareSummary:
    """Convert a dataset to another format.

    Args:
        source: As for `prepare`.
        root: Folder to fill.
        to: The format to write.
        num_train: As for `prepare`; None keeps the pictures of a source without splits together, as train.
        seed: Picks the split.
        split: As for `prepare`.
        on_bad: As for `prepare`.
        source_format: As for `prepare`.
        progress: Show progress bars on a terminal.

    Raises:
        DatasetError: The source, `num_train` or `root` cannot be used.
        ConfigError: Another process fills `root`.
        OSError: The disk is full.
    """
    _check_root(source, root)
    with open_source(source, source_format) as opened:
        arranged = arrange(
            opened,
            method=split,
            otherwise="random",
            num_train=num_train,
            seed=seed,
            on_bad=on_bad,
            only_labelled=False,
            progress=progress,
        )
        recorded = {**_parameters(num_train, seed, arranged.method, on_bad), "to": to}
        return _publish(arranged, root, WRITERS[to], recorded, progress=progress)


def _publish(
    arranged: Arranged, root: Path, writer: Writer, parameters: Mapping[str, object], *, progress: bool
) -> PrepareSummary:
    splits = arranged.splits
    classes = sorted({label for pictures in splits.values() for item in pictures for label in labels_of(item)})
    files = writer.write(splits, classes)
    digest = _split_digest(splits, files)
    before = recorded_source(root)
    source_sha256 = arranged.checked.source_sha256
    changed_files = publish(
        root,
        _wanted_files(arranged, writer),
        files,
        {"parameters": parameters, "source_sha256": source_sha256, "split_sha256": digest},
        progress=progress,
    )
    if writer is TABLES:
        for split, items in splits.items():
            places = ((root / writer.folder_of(split) / item.picture.name, item) for item in items)
            pack_split(root / split, [picture_of(path, item.size, item.rows) for path, item in places])
    changed = before not in (None, source_sha256)
    summary = arranged.summarise(root, digest, changed_files, source_changed=changed)
    return summary if writer.keeps_captions else summary.without_captions()


def _check_root(source: Path, root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file; choose a folder as --root")
    read, written = source.resolve(), root.resolve()
    if read == written or read in written.parents:
        raise DatasetError(f"{root}: lies among the files of the source; choose another --root")
    for folder in _OWN_FOLDERS:
        if written / folder == read or written / folder in read.parents:
            raise DatasetError(f"{root}: the source lies in its {folder}/ folder; choose another --root")


def _parameters(num_train: float | None, seed: int, split: str, on_bad: str) -> dict[str, object]:
    """What the manifest records; a random split is recorded as it was before there were others."""
    parameters: dict[str, object] = {"num_train": num_train, "seed": seed, "on_bad": on_bad}
    return parameters if split == "random" else {**parameters, "split": split}


def _split_digest(splits: Splits, files: Mapping[str, bytes]) -> str:
    """Digest over the names of the pictures and the annotations of all splits."""
    digest = hashlib.sha256()
    for name, pictures in splits.items():
        names = "\n".join(item.picture.name for item in pictures)
        digest.update(f"{name}\n{names}\n".encode() + files.get(f"{name}/{TABLE_NAME}", b""))
    for path in sorted(path for path in files if not path.endswith(f"/{TABLE_NAME}")):
        digest.update(f"{path}\n".encode() + files[path])
    return digest.hexdigest()


def _wanted_files(arranged: Arranged, writer: Writer) -> dict[str, Content]:
    """The pictures, and beside this project's tables the annotations as they were."""
    wanted: dict[str, Content] = {}
    read = arranged.source.read
    for split, pictures in arranged.splits.items():
        for item in pictures:
            place = f"{writer.folder_of(split)}/{item.picture.name}"
            wanted[place] = Content(item.picture_sha256, partial(read, item.picture))
            if writer is TABLES and item.annotation_sha256 is not None:
                place = f"{split}/{LABELS_FOLDER}/{item.annotation.name}"
                wanted[place] = Content(item.annotation_sha256, partial(read, item.annotation))
    return wanted
