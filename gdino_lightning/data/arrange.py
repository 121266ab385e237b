"""What `prepare` makes of a source before it writes anything: everything checked, and every picture in a split."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gdino_lightning.data.annotation import Problem
from gdino_lightning.data.check import Checked, CheckedPicture, check_source
from gdino_lightning.data.images import decode_rgb
from gdino_lightning.data.parallel import map_pictures
from gdino_lightning.data.similarity import Thumbnail, near_identical, thumbnail
from gdino_lightning.data.source import SPLITS, TEST, TRAIN, VAL, Source
from gdino_lightning.data.split import split_grouped, split_names, split_stratified
from gdino_lightning.data.summary import Groups, PrepareSummary, count_split
from gdino_lightning.errors import DatasetError, problem_list

SplitMethod = Literal["given", "random", "grouped", "stratified"]
OnBad = Literal["error", "skip"]
Splits = Mapping[str, Sequence[CheckedPicture]]


@dataclass(frozen=True)
class Arranged:
    """A source, checked and split.

    Attributes:
        source: The open source.
        checked: What is on its pictures, and what cannot be used.
        method: How the splits were told apart; "" where all pictures are one split.
        splits: Name of a split -> its pictures.
        groups: Near-identical pictures that were kept together.
        asked_train: How many pictures train should have, where groups may have changed it.
        notes: What a user should know of the splits.
    """

    source: Source
    checked: Checked
    method: SplitMethod | Literal[""]
    splits: Splits
    groups: Groups
    asked_train: int | None
    notes: tuple[str, ...]

    def summarise(self, root: Path, digest: str, changed_files: int, *, source_changed: bool) -> PrepareSummary:
        """Say what was found and made.

        Args:
            root: The folder that was written.
            digest: Of what was written.
            changed_files: How many files were written or removed.
            source_changed: `root` was made from something else before.
        """
        pictures = self.checked.pictures
        overhangs = [picture.overhangs_px for picture in pictures]
        split_of = {item.picture.name: name for name, items in self.splits.items() for item in items}
        identical = _identical_groups(pictures)
        return PrepareSummary(
            root=root,
            splits=tuple(count_split(name, [labels_of(item) for item in items]) for name, items in self.splits.items()),
            clipped_boxes=sum(len(found) for found in overhangs),
            clipped_pictures=sum(bool(found) for found in overhangs),
            largest_overhang_px=max((max(found) for found in overhangs if found), default=0.0),
            repeated_boxes=sum(picture.repeated for picture in pictures),
            matched_by_name=sum(picture.matched_by_name for picture in pictures),
            identical=identical,
            cut=tuple(group for group in identical if len({split_of.get(name) for name in group}) > 1),
            skipped=self.checked.problems,
            ignored=self.source.ignored,
            digest=digest,
            changed_files=changed_files,
            split=self.method,
            groups=self.groups,
            asked_train=self.asked_train,
            oddities=tuple(picture.oddity for picture in pictures if picture.oddity),
            source_changed=source_changed,
            format=self.source.format,
            notes=(*self.source.notes, *self.notes),
            captions=sum(len(picture.captions) for picture in pictures),
        )


def arrange(
    source: Source,
    *,
    method: SplitMethod | None,
    otherwise: SplitMethod,
    num_train: float | None,
    seed: int,
    on_bad: OnBad,
    only_labelled: bool,
    progress: bool,
) -> Arranged:
    """Check a source and split it.

    Args:
        source: An open source.
        method: How to split; None for the source's own splits, where it has them.
        otherwise: How to split where it has none.
        num_train: Pictures of train, or its share below 1; None leaves all pictures in it, where the source has no
            splits and no method is asked for.
        seed: Picks the split.
        on_bad: `error` refuses what cannot be used, `skip` leaves it out.
        only_labelled: Leave out splits of the source that have no box at all.
        progress: Show progress bars on a terminal.

    Raises:
        DatasetError: Something cannot be used, or cannot be split so.
    """
    checked = check_source(source, progress=progress)
    if checked.problems and on_bad == "error":
        raise DatasetError(_problem_list(source.tree.path, checked.problems))
    if not any(item.rows or item.captions for item in checked.pictures):
        raise DatasetError(
            f"{source.tree.path}: no box on any of {len(checked.pictures):,} pictures, so nothing to learn"
        )
    pictures, notes = _labelled(checked.pictures, source.split_of) if only_labelled else (list(checked.pictures), [])
    given, about_splits = _given_splits(source, pictures)
    notes += about_splits
    if method == "given" and given is None:
        raise DatasetError(f"{source.tree.path}: {notes[0] if notes else 'has no splits'}; choose another --split")
    if given is not None and method in (None, "given"):
        return Arranged(source, checked, "given", given, (), None, tuple(notes))
    if method in (None, "given") and num_train is None:
        return Arranged(source, checked, "", {TRAIN: pictures}, (), None, tuple(notes))
    method = otherwise if method is None else method
    groups = () if method == "random" else _near_identical(source, pictures, progress=progress)
    asked = _number(num_train, len(pictures))
    splits = _split(pictures, groups, method, asked, seed)
    return Arranged(source, checked, method, splits, groups, None if method == "random" else asked, tuple(notes))


def labels_of(item: CheckedPicture) -> list[str]:
    """The class name of each box of a picture."""
    return [row.label_name for row in item.rows]


def _problem_list(path: Path, problems: Sequence[Problem]) -> str:
    count = len(problems)
    heading = f"{path}: {count} problem{'s' if count > 1 else ''}, nothing was written"
    fix = "correct them, or leave these boxes and pictures out with --on_bad skip"
    return f"{problem_list(heading, [problem.text for problem in problems])}\n{fix}"


def _given_splits(source: Source, pictures: Sequence[CheckedPicture]) -> tuple[Splits | None, list[str]]:
    """The splits of the source, None where it has no two, and what to say of them."""
    if not source.split_of:
        return None, []
    splits: dict[str, list[CheckedPicture]] = {name: [] for name in SPLITS}
    for item in pictures:
        splits[source.split_of.get(item.picture.name, TRAIN)].append(item)
    present = {name: items for name, items in splits.items() if items}
    if TRAIN not in present or len(present) < 2:
        return None, [f"its only split is {' and '.join(present)}"]
    if TEST not in present:
        present[TEST] = present.pop(VAL)
        return present, ["its val split is the test split here: it has no other"]
    return present, []


def _labelled(
    pictures: Sequence[CheckedPicture], split_of: Mapping[str, str]
) -> tuple[list[CheckedPicture], list[str]]:
    """Leave out the splits without any box: of pictures that nobody annotated, none is known to be a negative."""
    labelled = {split_of.get(item.picture.name, TRAIN) for item in pictures if item.rows or item.captions}
    empty = [name for name in SPLITS if name in split_of.values() and name not in labelled]
    kept = [item for item in pictures if split_of.get(item.picture.name, TRAIN) not in empty]
    return kept, [f"{name} has no boxes and is left out: {len(pictures) - len(kept):,} pictures" for name in empty]


def _near_identical(source: Source, pictures: Sequence[CheckedPicture], *, progress: bool) -> Groups:
    def shrink(item: CheckedPicture) -> Thumbnail:
        return thumbnail(decode_rgb(source.read(item.picture), item.picture.where))

    thumbnails = map_pictures(shrink, pictures, "comparing pictures", progress=progress)
    return near_identical(dict(zip((item.picture.name for item in pictures), thumbnails, strict=True)))


def _number(num_train: float | None, total: int) -> int:
    if num_train is None:
        raise DatasetError("--num_train is missing: a number of pictures, or a share such as 0.8")
    share = isinstance(num_train, float) and 0 < num_train < 1
    return max(1, min(total - 1, round(num_train * total))) if share else int(num_train)


def _split(
    pictures: Sequence[CheckedPicture], groups: Groups, method: SplitMethod, num_train: int, seed: int
) -> dict[str, list[CheckedPicture]]:
    by_name = {item.picture.name: item for item in pictures}
    if method == "random":
        train, test = split_names(by_name, num_train, seed)
    elif method == "grouped":
        train, test = split_grouped(by_name, groups, num_train, seed)
    else:
        labels = {name: labels_of(item) for name, item in by_name.items()}
        train, test = split_stratified(labels, groups, num_train, seed)
    return {TRAIN: [by_name[name] for name in train], TEST: [by_name[name] for name in test]}


def _identical_groups(pictures: Iterable[CheckedPicture]) -> Groups:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in pictures:
        groups[item.picture_sha256].append(item.picture.name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
