"""What `prepare` found and made, as a text to read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gdino_lightning.data.annotation import Problem
from gdino_lightning.data.fields import format_number
from gdino_lightning.errors import listed

Groups = tuple[tuple[str, ...], ...]
"""Names of pictures that belong together."""

MAX_LISTED = 10
MAX_NAMED = 5  # in a line of text


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split.

    Attributes:
        name: `train`, `val` or `test`.
        pictures: All pictures, negatives among them.
        negatives: Pictures without a box.
        boxes: Class name -> boxes, sorted by class name.
    """

    name: str
    pictures: int
    negatives: int
    boxes: dict[str, int]

    @property
    def num_boxes(self) -> int:
        """Boxes of all classes."""
        return sum(self.boxes.values())


@dataclass(frozen=True)
class PrepareSummary:
    """Result of `prepare`; `str()` of it is what the command prints.

    Attributes:
        root: The prepared folder.
        splits: Counts of each split.
        clipped_boxes: Boxes that leave their picture; annotated so in the tables, clipped when loaded.
        clipped_pictures: Pictures with such boxes.
        largest_overhang_px: By how much the worst of them leaves its picture.
        repeated_boxes: Exact repetitions of a box that were left out.
        matched_by_name: Annotations that name no picture and were matched by their own name.
        identical: Groups of pictures with the same bytes.
        cut: Those groups that have pictures in several splits.
        skipped: What was left out and why.
        ignored: Files of the source that are neither pictures nor XML.
        digest: sha256 over tables and picture names of all splits.
        changed_files: Files written or removed; 0 where everything was there already.
        split: How train and test were told apart.
        groups: Near-identical pictures that the split kept together.
        asked_train: How many pictures train should have had, where groups may have changed it.
        oddities: What of pictures is unlike their names or is not seen.
        source_changed: `root` was made from other contents of pictures and annotations before.
        format: Format of the source.
        notes: What else should be known of how it was read.
        captions: Texts with phrases.
        lost_captions: How many of them the written format has no place for.
    """

    root: Path
    splits: tuple[SplitCounts, ...]
    clipped_boxes: int
    clipped_pictures: int
    largest_overhang_px: float
    repeated_boxes: int
    matched_by_name: int
    identical: Groups
    cut: Groups
    skipped: tuple[Problem, ...]
    ignored: tuple[str, ...]
    digest: str
    changed_files: int
    split: str = "random"
    groups: Groups = ()
    asked_train: int | None = None
    oddities: tuple[str, ...] = ()
    source_changed: bool = False
    format: str = "voc"
    notes: tuple[str, ...] = ()
    captions: int = 0
    lost_captions: int = 0

    def without_captions(self) -> "PrepareSummary":
        """The same of a folder that has no place for captions."""
        return replace(self, captions=0, lost_captions=self.captions)

    def __str__(self) -> str:
        done = f"{self.changed_files:,} files written or removed" if self.changed_files else "already up to date"
        lines = [
            f"{self.root}: {done}",
            "",
            *counts_table(self.splits),
            "",
            self._clipped_line(),
            self._skipped_line(),
        ]
        lines += [f"           {problem.text}" for problem in self.skipped[:MAX_LISTED]]
        if len(self.skipped) > MAX_LISTED:
            lines.append(f"           ... and {len(self.skipped) - MAX_LISTED} more")
        lines += self._notes()
        lines += [f"warning    {warning}" for warning in self.warnings]
        lines.append(f"digest     {self.digest}")
        return "\n".join(lines)

    @property
    def warnings(self) -> list[str]:
        """What should be looked at before training."""
        warnings = []
        if self.source_changed:
            warnings.append("the source has changed since this folder was made; it now holds what the source holds")
        if self.cut:
            groups = listed((" = ".join(group) for group in self.cut), MAX_NAMED)
            warnings.append(
                f"{counted(len(self.cut), 'identical group is', 'identical groups are')} cut by the split, so "
                f"train has seen these test pictures: {groups}; --split grouped keeps them together"
            )
        if self.oddities:
            pictures = counted(len(self.oddities), "picture")
            warnings.append(f"{pictures} used as decoded: {listed(self.oddities, MAX_NAMED)}")
        if self.lost_captions:
            warnings.append(
                f"{counted(self.lost_captions, 'caption')} left out: the written format has no place for them"
            )
        num_train = self.splits[0].pictures
        if self.asked_train not in (None, num_train):
            warnings.append(f"train has {num_train} pictures, not {self.asked_train}: whole groups do not add up to it")
        return warnings + class_warnings(self.splits)

    def _clipped_line(self) -> str:
        if not self.clipped_boxes:
            return "clipped    nothing: all boxes lie inside their pictures"
        return (
            f"clipped    {counted(self.clipped_boxes, 'box', 'boxes')} in "
            f"{counted(self.clipped_pictures, 'picture')}, out by at most "
            f"{format_number(self.largest_overhang_px)} px (tables as annotated, clipped when loaded)"
        )

    def _skipped_line(self) -> str:
        if not self.skipped:
            return "skipped    nothing"
        reasons = Counter(problem.reason for problem in self.skipped)
        return "skipped    " + ", ".join(f"{count} x {reason}" for reason, count in reasons.items())

    def _notes(self) -> list[str]:
        notes = [] if self.format == "voc" else [f"format     {self.format}"]
        if self.split == "given":
            notes.append("split      as the source has it")
        elif self.split in ("grouped", "stratified"):
            shares = "classes in equal shares, " if self.split == "stratified" else ""
            kept = f"{counted(len(self.groups), 'group')} of near-identical pictures kept together"
            notes.append(f"split      {self.split}: {shares}{kept}")
        if self.repeated_boxes:
            notes.append(f"repeated   {counted(self.repeated_boxes, 'box', 'boxes')} annotated twice, kept once")
        if self.matched_by_name:
            subject = counted(self.matched_by_name, "annotation names", "annotations name")
            notes.append(f"matched    {subject} no picture of the source and went by its own file name")
        if self.ignored:
            notes.append(f"ignored    {counted(len(self.ignored), 'other file')}: {listed(self.ignored, MAX_NAMED)}")
        if self.identical:
            pictures = sum(len(group) for group in self.identical)
            groups = counted(len(self.identical), "group")
            notes.append(f"identical  {groups} of byte-identical pictures ({pictures} pictures)")
        if self.captions:
            notes.append(f"captions   {self.captions:,}")
        notes += [f"note       {note}" for note in self.notes]
        return notes


def count_split(name: str, labels: Sequence[Sequence[str]]) -> SplitCounts:
    """Count the pictures and boxes of one split from the class names of each picture's boxes."""
    boxes = Counter(label for found in labels for label in found)
    return SplitCounts(name, len(labels), sum(not found for found in labels), dict(sorted(boxes.items())))


def class_warnings(splits: Sequence[SplitCounts]) -> list[str]:
    """Say which classes are missing from a split, and which differ in case only."""
    labels = sorted({label for split in splits for label in split.boxes})
    warnings = []
    for split in splits:
        absent = [label for label in labels if not split.boxes.get(label)]
        if absent:
            warnings.append(f"{split.name} has no box of {', '.join(absent)}")
    spellings = Counter(label.casefold() for label in labels)
    alike = [label for label in labels if spellings[label.casefold()] > 1]
    if alike:
        warnings.append(f"classes that differ only in case: {', '.join(alike)}")
    return warnings


def counts_table(splits: Sequence[SplitCounts]) -> list[str]:
    """Write the counts of the splits and of all as aligned lines, class by class."""
    labels = sorted({label for split in splits for label in split.boxes})
    rows = [
        ("pictures", [split.pictures for split in splits]),
        ("  without a box", [split.negatives for split in splits]),
        ("boxes", [split.num_boxes for split in splits]),
        *((f"  {label}", [split.boxes.get(label, 0) for split in splits]) for label in labels),
    ]
    first = max(len(title) for title, _ in rows)
    header = "".join(f"{title:>9}" for title in (*(split.name for split in splits), "total"))
    lines = [" " * first + header]
    for title, counts in rows:
        lines.append(f"{title:<{first}}" + "".join(f"{count:>9,}" for count in (*counts, sum(counts))))
    return lines


def counted(number: int, singular: str, plural: str = "") -> str:
    """Write a number with its noun: `1 box`, `2,775 boxes`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
