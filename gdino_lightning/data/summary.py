"""What `prepare` found and made, as a text to read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gdino_lightning.data.check import CheckedPicture, Problem
from gdino_lightning.data.fields import format_number

MAX_LISTED = 10


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split.

    Attributes:
        name: `train` or `test`.
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
        splits: Counts of train and of test.
        clipped_boxes: Boxes that leave their picture; annotated so in the tables, clipped when loaded.
        clipped_pictures: Pictures with such boxes.
        largest_overhang_px: By how much the worst of them leaves its picture.
        repeated_boxes: Exact repetitions of a box that were left out.
        matched_by_name: Annotations that name no picture and were matched by their own name.
        identical: Groups of pictures with the same bytes.
        cut: Those groups that have pictures in both splits.
        skipped: What was left out and why.
        ignored: Files of the source that are neither pictures nor XML.
        digest: sha256 over tables and picture names of both splits.
        changed_files: Files written or removed; 0 where everything was there already.
    """

    root: Path
    splits: tuple[SplitCounts, ...]
    clipped_boxes: int
    clipped_pictures: int
    largest_overhang_px: float
    repeated_boxes: int
    matched_by_name: int
    identical: tuple[tuple[str, ...], ...]
    cut: tuple[tuple[str, ...], ...]
    skipped: tuple[Problem, ...]
    ignored: tuple[str, ...]
    digest: str
    changed_files: int

    def __str__(self) -> str:
        done = f"{self.changed_files:,} files written or removed" if self.changed_files else "already up to date"
        lines = [
            f"{self.root}: {done}",
            "",
            *_table(self.splits),
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
        if self.cut:
            groups = _listed(" = ".join(group) for group in self.cut)
            warnings.append(
                f"{_count(len(self.cut), 'identical group is', 'identical groups are')} cut by the split, so "
                f"train has seen these test pictures: {groups}"
            )
        labels = sorted({label for split in self.splits for label in split.boxes})
        for split in self.splits:
            absent = [label for label in labels if not split.boxes.get(label)]
            if absent:
                warnings.append(f"{split.name} has no box of {', '.join(absent)}")
        spellings = Counter(label.casefold() for label in labels)
        alike = [label for label in labels if spellings[label.casefold()] > 1]
        if alike:
            warnings.append(f"classes that differ only in case: {', '.join(alike)}")
        return warnings

    def _clipped_line(self) -> str:
        if not self.clipped_boxes:
            return "clipped    nothing: all boxes lie inside their pictures"
        return (
            f"clipped    {_count(self.clipped_boxes, 'box', 'boxes')} in "
            f"{_count(self.clipped_pictures, 'picture')}, out by at most "
            f"{format_number(self.largest_overhang_px)} px (tables as annotated, clipped when loaded)"
        )

    def _skipped_line(self) -> str:
        if not self.skipped:
            return "skipped    nothing"
        reasons = Counter(problem.reason for problem in self.skipped)
        return "skipped    " + ", ".join(f"{count} x {reason}" for reason, count in reasons.items())

    def _notes(self) -> list[str]:
        notes = []
        if self.repeated_boxes:
            notes.append(f"repeated   {_count(self.repeated_boxes, 'box', 'boxes')} annotated twice, kept once")
        if self.matched_by_name:
            subject = _count(self.matched_by_name, "annotation names", "annotations name")
            notes.append(f"matched    {subject} no picture of the source and went by its own file name")
        if self.ignored:
            notes.append(f"ignored    {_count(len(self.ignored), 'other file')}: {_listed(self.ignored)}")
        if self.identical:
            pictures = sum(len(group) for group in self.identical)
            groups = _count(len(self.identical), "group")
            notes.append(f"identical  {groups} of byte-identical pictures ({pictures} pictures)")
        return notes


def count_split(name: str, pictures: Sequence[CheckedPicture]) -> SplitCounts:
    """Count the pictures and boxes of one split."""
    boxes = Counter(row.label_name for picture in pictures for row in picture.rows)
    negatives = sum(not picture.rows for picture in pictures)
    return SplitCounts(name, len(pictures), negatives, dict(sorted(boxes.items())))


def _table(splits: Sequence[SplitCounts]) -> list[str]:
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


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _listed(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
