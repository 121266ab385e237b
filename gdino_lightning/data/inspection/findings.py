"""What is wrong or strange in a dataset, with the files and lines where it is."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gdino_lightning.boxes import pairwise_iou
from gdino_lightning.data.fields import box_problem, clip_box, format_number
from gdino_lightning.data.inspection.look import Look
from gdino_lightning.data.similarity import near_identical
from gdino_lightning.data.summary import SplitCounts, class_warnings, counted
from gdino_lightning.data.table import Row

TINY_PX = 4  # shorter side of a stored box; on its way to the model a picture grows two or three times at most
REPEATED_IOU = 0.9  # in the Face Mask Detection dataset no two boxes of a picture overlap by more than .71
MAX_DETECTIONS = 100  # boxes of a picture that COCO's mAP looks at
FEW_BOXES = 30  # the average precision of a class with fewer is mostly chance


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        text: What, how often, and what it means or asks for.
        places: The files, lines and boxes; none where a whole split is meant.
        groups: For pictures that belong together: the groups, in the order of `places`.
    """

    text: str
    places: tuple[str, ...] = ()
    groups: tuple[tuple[Look, ...], ...] = ()


def find_all(looks: Sequence[Look], splits: Sequence[SplitCounts]) -> list[Finding]:
    """Return everything that is wrong or strange, what stops training first.

    Args:
        looks: All pictures.
        splits: Their counts, by split.
    """
    return [
        *_listed([look.problem for look in looks if look.problem], "picture", "cannot be read and will stop training"),
        *_boxes(looks, _resized, "with another picture size than the file has; run `gdino prepare` again"),
        *_boxes(looks, _unusable, "that cannot be used and will stop training"),
        *_boxes(looks, _overhang, "leaving the picture (clipped when loaded)"),
        *_boxes(looks, _tiny, f"with a side below {TINY_PX} px: hardly to be learned, and counted as misses"),
        *_listed(
            [place for look in looks for place in _repeated(look)],
            "pair",
            f"of boxes with an IoU of {REPEATED_IOU:g} or more: the same thing twice?",
        ),
        *_listed(
            [f"{look.place}: {len(look.rows)} boxes" for look in looks if len(look.rows) > MAX_DETECTIONS],
            "picture",
            f"with more than {MAX_DETECTIONS} boxes; COCO's mAP looks at {MAX_DETECTIONS} detections a picture",
        ),
        *_duplicates(looks),
        *(Finding(text) for text in class_warnings(splits)),
        *(Finding(text) for text in _rare(splits)),
    ]


def clipped_px(row: Row) -> tuple[float, float, float, float]:
    """The box as it is loaded: xyxy_px, clipped to the picture."""
    return clip_box(row.box_px, row.image_width, row.image_height)


def shorter_side_px(row: Row) -> float:
    """The shorter side of the box as it is loaded, in px."""
    x1, y1, x2, y2 = clipped_px(row)
    return min(x2 - x1, y2 - y1)


def _listed(places: Sequence[str], noun: str, text: str) -> Iterator[Finding]:
    if places:
        plural = "boxes" if noun == "box" else f"{noun}s"
        yield Finding(f"{counted(len(places), noun, plural)} {text}", tuple(places))


def _boxes(looks: Iterable[Look], judge: Callable[[Look, Row], str | None], text: str) -> Iterator[Finding]:
    judged = [(look, row, judge(look, row)) for look in looks for row in look.rows]
    return _listed([f"{look.place_of(row)}: {word}" for look, row, word in judged if word], "box", text)


def _resized(look: Look, row: Row) -> str | None:
    if look.size in (None, (row.image_width, row.image_height)):
        return None
    return f"{row.image_width}x{row.image_height} in the table, {look.size[0]}x{look.size[1]} in the file"


def _unusable(look: Look, row: Row) -> str | None:
    return box_problem(row.box_px, row.image_width, row.image_height)


def _overhang(look: Look, row: Row) -> str | None:
    overhang = max(abs(a - b) for a, b in zip(row.box_px, clipped_px(row), strict=True))
    return f"by {format_number(overhang)} px" if overhang and not _unusable(look, row) else None


def _tiny(look: Look, row: Row) -> str | None:
    if _unusable(look, row) or shorter_side_px(row) >= TINY_PX:
        return None
    x1, y1, x2, y2 = clipped_px(row)
    return f"{format_number(x2 - x1)}x{format_number(y2 - y1)} px"


def _repeated(look: Look) -> Iterator[str]:
    """Pairs of boxes of one picture that are nearly the same box, whatever their classes."""
    rows = [row for row in look.rows if not _unusable(look, row)]
    boxes = torch.tensor([clipped_px(row) for row in rows], dtype=torch.float64).reshape(-1, 4)
    iou = pairwise_iou(boxes, boxes).triu(diagonal=1)
    for first, second in (iou >= REPEATED_IOU).nonzero().tolist():
        lines = f"lines {rows[first].line} and {rows[second].line}"
        names = " and ".join(dict.fromkeys((rows[first].label_name, rows[second].label_name)))
        yield f"{look.place}: {lines} of the table ({names}), IoU {iou[first, second]:.2f}"


def _duplicates(looks: Sequence[Look]) -> Iterator[Finding]:
    """Pictures that are the same byte for byte, then those that are the same to the eye; across splits first."""
    same_bytes: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        if look.small is not None:
            same_bytes[look.sha256].append(look)
    identical = [tuple(group) for group in same_bytes.values() if len(group) > 1]
    by_place = {look.place: look for look in looks}
    names = near_identical({look.place: look.small for look in looks if look.small is not None})
    near = [tuple(by_place[place] for place in group) for group in names]
    near = [group for group in near if len({look.sha256 for look in group}) > 1]
    for groups, kind in ((identical, "byte-identical"), (near, "near-identical")):
        cut = [group for group in groups if len({look.split for look in group}) > 1]
        whole = [group for group in groups if group not in cut]
        leak = "in both splits, so training sees test pictures; `gdino prepare --split grouped` keeps them together"
        yield from _grouped(cut, f"of {kind} pictures {leak}")
        yield from _grouped(whole, f"of {kind} pictures within a split")


def _grouped(groups: Sequence[tuple[Look, ...]], text: str) -> Iterator[Finding]:
    if groups:
        places = tuple(f"{' = '.join(look.place for look in group)} ({_agreement(group)})" for group in groups)
        yield Finding(f"{counted(len(groups), 'group')} {text}", places, tuple(groups))


def _agreement(group: Sequence[Look]) -> str:
    annotations = {frozenset((row.label_name, row.box_px) for row in look.rows) for look in group}
    return "the same boxes" if len(annotations) == 1 else "boxes differ"


def _rare(splits: Sequence[SplitCounts]) -> Iterator[str]:
    for split in splits:
        few = [f"{label} ({boxes})" for label, boxes in split.boxes.items() if 0 < boxes < FEW_BOXES]
        if few:
            yield f"{split.name} has fewer than {FEW_BOXES} boxes of {', '.join(few)}: their AP is mostly chance"
