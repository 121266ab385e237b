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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from gdino_lightning.data.check import Checked, CheckedPicture, Problem, check_source
from gdino_lightning.data.images import decode_rgb
from gdino_lightning.data.parallel import map_pictures
from gdino_lightning.data.publish import Content, publish, recorded_source
from gdino_lightning.data.similarity import Thumbnail, near_identical, thumbnail
from gdino_lightning.data.source import Source, open_source
from gdino_lightning.data.split import split_grouped, split_names, split_stratified
from gdino_lightning.data.summary import PrepareSummary, count_split
from gdino_lightning.data.table import IMAGES_FOLDER, TABLE_NAME, write_table
from gdino_lightning.errors import DatasetError

TRAIN = "train"
TEST = "test"
LABELS_FOLDER = "labels"
MAX_PROBLEMS_SHOWN = 50

Split = Literal["random", "grouped", "stratified"]
Groups = tuple[tuple[str, ...], ...]


def prepare(
    source: Path,
    root: Path,
    *,
    num_train: int = 600,
    seed: int = 0,
    split: Split = "random",
    on_bad: Literal["error", "skip"] = "error",
    progress: bool = True,
) -> PrepareSummary:
    """Convert a dataset of pictures and VOC XML to the project's tables, split into train and test.

    Args:
        source: Zip archive or folder with `images/` and `annotations/`.
        root: Folder to fill with `train/` and `test/`.
        num_train: Pictures that go to train; the others go to test.
        seed: Picks the split.
        split: `random`, `grouped` (near-identical pictures stay on one side) or `stratified` (grouped, and train and
            test get the same share of every class's boxes). Groups may make train differ from `num_train`, by as
            little as possible.
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
        groups = () if split == "random" else _near_identical(opened, checked.pictures, progress=progress)
        splits = _split(checked.pictures, groups, split, num_train, seed)
        tables = {
            name: write_table(row for picture in pictures for row in picture.rows) for name, pictures in splits.items()
        }
        digest = _split_digest(splits, tables)
        before = recorded_source(root)
        changed_files = publish(
            root,
            _wanted_files(opened, splits),
            {f"{name}/{TABLE_NAME}": table for name, table in tables.items()},
            {
                "parameters": _parameters(num_train, seed, split, on_bad),
                "source_sha256": checked.source_sha256,
                "split_sha256": digest,
            },
            progress=progress,
        )
        summary = _summarise(root, opened, checked, splits, digest, changed_files)
        summary = replace(summary, source_changed=before not in (None, checked.source_sha256))
        return summary if split == "random" else replace(summary, split=split, groups=groups, asked_train=num_train)


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


def _near_identical(source: Source, pictures: Sequence[CheckedPicture], *, progress: bool) -> Groups:
    def shrink(item: CheckedPicture) -> Thumbnail:
        return thumbnail(decode_rgb(source.read(item.picture), item.picture.where))

    thumbnails = map_pictures(shrink, pictures, "comparing pictures", progress=progress)
    return near_identical(dict(zip((item.picture.name for item in pictures), thumbnails, strict=True)))


def _split(
    pictures: Sequence[CheckedPicture], groups: Groups, split: Split, num_train: int, seed: int
) -> dict[str, list[CheckedPicture]]:
    by_name = {item.picture.name: item for item in pictures}
    if split == "random":
        train, test = split_names(by_name, num_train, seed)
    elif split == "grouped":
        train, test = split_grouped(by_name, groups, num_train, seed)
    else:
        labels = {name: _labels(item) for name, item in by_name.items()}
        train, test = split_stratified(labels, groups, num_train, seed)
    return {TRAIN: [by_name[name] for name in train], TEST: [by_name[name] for name in test]}


def _labels(item: CheckedPicture) -> list[str]:
    return [row.label_name for row in item.rows]


def _parameters(num_train: int, seed: int, split: Split, on_bad: str) -> dict[str, object]:
    """What the manifest records; a random split is recorded as it was before there were others."""
    parameters: dict[str, object] = {"num_train": num_train, "seed": seed, "on_bad": on_bad}
    return parameters if split == "random" else {**parameters, "split": split}


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
        splits=tuple(count_split(name, [_labels(item) for item in pictures]) for name, pictures in splits.items()),
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
        oddities=tuple(picture.oddity for picture in checked.pictures if picture.oddity),
    )


def _identical_groups(pictures: Iterable[CheckedPicture]) -> Groups:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in pictures:
        groups[item.picture_sha256].append(item.picture.name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
