"""`gdino inspect`: a prepared dataset in numbers and findings."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gdino_lightning.data.fields import format_number
from gdino_lightning.data.inspection.findings import Finding, clipped_px, find_all, shorter_side_px
from gdino_lightning.data.inspection.look import Look, look_at
from gdino_lightning.data.summary import SplitCounts, count_split, counts_table
from gdino_lightning.data.table import Row

COCO_SIZES = ("small", "medium", "large")
SMALL_PX, MEDIUM_PX = 32, 96  # sides of the squares whose areas part COCO's sizes
MAX_PLACES, MAX_LETTERS = 5, 240  # places of a finding in the text, letters of a place


@dataclass(frozen=True)
class Survey:
    """Result of `survey`; `str()` of it is what the command prints.

    Attributes:
        root: The prepared folder.
        looks: All pictures.
        splits: Counts of each split.
        findings: What is wrong or strange.
    """

    root: Path
    looks: tuple[Look, ...]
    splits: tuple[SplitCounts, ...]
    findings: tuple[Finding, ...]

    @property
    def classes(self) -> list[str]:
        """All class names, the rarest first."""
        boxes = sum((Counter(split.boxes) for split in self.splits), Counter[str]())
        return sorted(boxes, key=lambda label: (boxes[label], label))

    @property
    def rows(self) -> list[Row]:
        """The boxes of all pictures."""
        return [row for look in self.looks for row in look.rows]

    def __str__(self) -> str:
        lines = [f"{self.root}: {len(self.looks):,} pictures", "", *counts_table(self.splits), ""]
        lines += [f"pictures   {self.picture_sizes}", f"boxes      {self.box_sizes}"]
        for finding in self.findings:
            lines.append(f"warning    {finding.text}")
            lines += [f"           {_shortened(place)}" for place in finding.places[:MAX_PLACES]]
            if len(finding.places) > MAX_PLACES:
                lines.append(f"           ... and {len(finding.places) - MAX_PLACES:,} more")
        return "\n".join(lines if self.findings else [*lines, "nothing strange was found"])

    @property
    def picture_sizes(self) -> str:
        """Widths, heights and their number, in a line."""
        sizes = [look.size for look in self.looks if look.size]
        if not sizes:
            return "none can be read"
        width, height = (_spread(sides) for sides in zip(*sizes, strict=True))
        return f"width {width}, height {height}; {len(set(sizes)):,} different sizes"

    @property
    def box_sizes(self) -> str:
        """COCO's three sizes and the shorter sides, in a line."""
        rows = self.rows
        sizes = Counter(coco_size(row) for row in rows)
        named = ", ".join(f"{sizes[name]:,} {name} ({sizes[name] / len(rows):.0%})" for name in COCO_SIZES)
        return f"{named} by COCO's areas; shorter side {_spread([shorter_side_px(row) for row in rows])}"


def survey(root: Path, *, progress: bool = True) -> Survey:
    """Look at a prepared dataset and find what should be known before training.

    Args:
        root: Folder that `prepare` made: `train/` and `test/`, or one of them.
        progress: Show a progress bar on a terminal.

    Raises:
        DatasetError: There is no table, or it or the folder of pictures cannot be read.
    """
    looks = look_at(root, progress=progress)
    names = dict.fromkeys(look.split for look in looks)
    splits = tuple(count_split(name, [look.labels for look in looks if look.split == name]) for name in names)
    return Survey(root, tuple(looks), splits, tuple(find_all(looks, splits)))


def coco_size(row: Row) -> str:
    """COCO's name for the size of a box, by its area in the stored picture."""
    x1, y1, x2, y2 = clipped_px(row)
    side = max(0.0, (x2 - x1) * (y2 - y1)) ** 0.5
    return COCO_SIZES[(side >= SMALL_PX) + (side >= MEDIUM_PX)]


def _spread(values: Sequence[float]) -> str:
    least, middle, most = (
        format_number(float(value)) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{least} to {most} px (median {middle})"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]} ..."
