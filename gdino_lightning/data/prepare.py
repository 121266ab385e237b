"""`gdino prepare`: annotations and pictures in, tables and splits out.

```
root/train/images/*  labels/*.xml  annotations.csv      root/test/ likewise      root/prepare.json
```

Everything is checked before anything is written. The result follows from the source's contents and the
parameters alone, whatever was in `root` before and however often it was interrupted.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from gdino_lightning.data.check import Checked, CheckedPicture, Problem, check_source
from gdino_lightning.data.publish import Content, publish
from gdino_lightning.data.source import Source, open_source
from gdino_lightning.data.split import split_names
from gdino_lightning.data.summary import PrepareSummary, count_split
from gdino_lightning.data.table import IMAGES_FOLDER, TABLE_NAME, write_table
from gdino_lightning.errors import DatasetError

TRAIN = "train"
TEST = "test"
LABELS_FOLDER = "labels"
MAX_PROBLEMS_SHOWN = 50


def prepare(
    source: Path,
    root: Path,
    *,
    num_train: int = 600,
    seed: int = 0,
    on_bad: Literal["error", "skip"] = "error",
    progress: bool = True,
) -> PrepareSummary:
    """Convert a dataset of pictures and VOC XML to the project's tables, split into train and test.

    Args:
        source: Zip archive or folder with `images/` and `annotations/`.
        root: Folder to fill with `train/` and `test/`.
        num_train: Pictures that go to train; the others go to test.
        seed: Picks the split.
        on_bad: What to do with bad boxes, pictures and annotations: `error` lists them and writes nothing,
            `skip` leaves them out and counts them.
        progress: Show progress bars on a terminal.

    Raises:
        DatasetError: The source, `num_train` or `root` cannot be used.
        OSError: The disk is full.
    """
    _check_root(source, root)
    with open_source(source) as opened:
        checked = check_source(opened, progress=progress)
        if checked.problems and on_bad == "error":
            raise DatasetError(_problem_list(source, checked.problems))
        splits = _split(checked, num_train, seed)
        tables = {
            name: write_table(row for picture in pictures for row in picture.rows) for name, pictures in splits.items()
        }
        digest = _split_digest(splits, tables)
        changed_files = publish(
            root,
            _wanted_files(opened, splits),
            {f"{name}/{TABLE_NAME}": table for name, table in tables.items()},
            {
                "parameters": {"num_train": num_train, "seed": seed, "on_bad": on_bad},
                "source_sha256": checked.source_sha256,
                "split_sha256": digest,
            },
            progress=progress,
        )
        return _summarise(root, opened, checked, splits, digest, changed_files)


def _check_root(source: Path, root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file; choose a folder as --root")
    read, written = source.resolve(), root.resolve()
    for folder in (TRAIN, TEST):
        if written / folder == read or written / folder in read.parents:
            raise DatasetError(f"{root}: the source lies in its {folder}/ folder; choose another --root")
    if read / "images" in (written, *written.parents) or read / "annotations" in (written, *written.parents):
        raise DatasetError(f"{root}: lies among the files of the source; choose another --root")


def _problem_list(source: Path, problems: Sequence[Problem]) -> str:
    count = len(problems)
    head = f"{source}: {count} problem{'s' if count > 1 else ''}, nothing was written"
    shown = [f"  {problem.text}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if count > MAX_PROBLEMS_SHOWN:
        shown.append(f"  ... and {count - MAX_PROBLEMS_SHOWN} more")
    fix = "correct them, or leave these boxes and pictures out with --on_bad skip"
    return "\n".join([head, *shown, fix])


def _split(checked: Checked, num_train: int, seed: int) -> dict[str, list[CheckedPicture]]:
    by_name = {picture.picture.name: picture for picture in checked.pictures}
    train, test = split_names(by_name, num_train, seed)
    return {TRAIN: [by_name[name] for name in train], TEST: [by_name[name] for name in test]}


def _split_digest(splits: Mapping[str, Sequence[CheckedPicture]], tables: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, pictures in splits.items():
        names = "\n".join(picture.picture.name for picture in pictures)
        digest.update(f"{name}\n{names}\n".encode() + tables[name])
    return digest.hexdigest()


def _wanted_files(source: Source, splits: Mapping[str, Sequence[CheckedPicture]]) -> dict[str, Content]:
    wanted: dict[str, Content] = {}
    for split, pictures in splits.items():
        for item in pictures:
            for folder, file, sha256 in (
                (IMAGES_FOLDER, item.picture, item.picture_sha256),
                (LABELS_FOLDER, item.annotation, item.annotation_sha256),
            ):
                wanted[f"{split}/{folder}/{file.name}"] = Content(sha256, partial(source.read, file))
    return wanted


def _summarise(
    root: Path,
    source: Source,
    checked: Checked,
    splits: Mapping[str, Sequence[CheckedPicture]],
    digest: str,
    changed_files: int,
) -> PrepareSummary:
    overhangs = [picture.overhangs_px for picture in checked.pictures]
    identical = _identical_groups(checked.pictures)
    train_names = {picture.picture.name for picture in splits[TRAIN]}
    return PrepareSummary(
        root=root,
        splits=tuple(count_split(name, pictures) for name, pictures in splits.items()),
        clipped_boxes=sum(len(found) for found in overhangs),
        clipped_pictures=sum(bool(found) for found in overhangs),
        largest_overhang_px=max((max(found) for found in overhangs if found), default=0.0),
        repeated_boxes=sum(picture.repeated for picture in checked.pictures),
        matched_by_name=sum(picture.matched_by_name for picture in checked.pictures),
        identical=identical,
        cut=tuple(group for group in identical if 0 < len(train_names.intersection(group)) < len(group)),
        skipped=checked.problems,
        ignored=source.ignored,
        digest=digest,
        changed_files=changed_files,
    )


def _identical_groups(pictures: Iterable[CheckedPicture]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in pictures:
        groups[item.picture_sha256].append(item.picture.name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
