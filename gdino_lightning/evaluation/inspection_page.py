"""The page of `gdino inspect`: plots, samples of each class, duplicates side by side, and every finding in full."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from gdino_lightning.data.images import read_rgb
from gdino_lightning.data.inspection.findings import Finding, clipped_px
from gdino_lightning.data.inspection.look import Look
from gdino_lightning.data.inspection.survey import MEDIUM_PX, SMALL_PX, Survey
from gdino_lightning.data.split import split_names
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.draw import Image, annotate, color_of, contact_sheet, legend, save_jpeg

PAGE = "index.html"
SAMPLES, MAX_CLASSES = 12, 100  # pictures of a class, classes
MAX_GROUPS, MAX_MEMBERS = 24, 8  # groups of duplicates, pictures of a group
_CELL = 400  # px of a picture in a sheet
_CROWD = 30  # boxes in a picture at which the histogram ends

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1280px; margin: 2em auto; padding: 0 1em; color: #222 }
img { max-width: 100%; border: 1px solid #ddd } table { border-collapse: collapse }
td, th { padding: .2em .9em; text-align: right; border-bottom: 1px solid #ddd } td:first-child { text-align: left }
li { font-family: ui-monospace, monospace; font-size: 13px } summary { cursor: pointer }
"""


def write_page(found: Survey, folder: Path, *, progress: bool = True) -> Path:
    """Write `index.html` and its pictures; it opens offline from any place that the folder is moved to.

    Args:
        found: What `survey` returned.
        folder: Where to write; it is made where it is missing.
        progress: Show a progress bar on a terminal.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _plot_classes(found, folder / "classes.png")
    _plot_sizes(found, folder / "sizes.png")
    sections = _samples(found, folder, progress)
    findings = [_finding(number, finding, found, folder) for number, finding in enumerate(found.findings, 1)]
    write_atomic(folder / PAGE, _html(found, findings, sections).encode())
    return folder / PAGE


def _html(found: Survey, findings: Sequence[str], samples: Sequence[str]) -> str:
    title = escape(f"{found.root.name}: {len(found.looks):,} pictures")
    parts = [
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        _counts(found),
        f"<p>pictures: {escape(found.picture_sizes)}<br>boxes: {escape(found.box_sizes)}</p>",
        f"<h2>Findings</h2>{''.join(findings) or '<p>Nothing strange was found.</p>'}",
        '<h2>Classes and sizes</h2><p><img src="classes.png" alt="boxes of each class"></p>',
        '<p><img src="sizes.png" alt="sizes of pictures and boxes"></p>',
        "<h2>Samples of each class, the rarest first</h2>",
        *samples,
    ]
    return '<!doctype html><html lang="en"><meta charset="utf-8">\n' + "\n".join(parts) + "\n</html>\n"


def _counts(found: Survey) -> str:
    """Boxes of each class and their share of the split."""
    heads = "".join(f"<th>{escape(split.name)}<th>share" for split in found.splits)
    rows = [
        f"<tr><td>{escape(label)}"
        + "".join(
            f"<td>{split.boxes.get(label, 0):,}<td>{_share(split.boxes.get(label, 0), split.num_boxes)}"
            for split in found.splits
        )
        for label in reversed(found.classes)
    ]
    pictures = "".join(f"<td>{split.pictures:,}<td>" for split in found.splits)
    negatives = "".join(
        f"<td>{split.negatives:,}<td>{_share(split.negatives, split.pictures)}" for split in found.splits
    )
    rows += [f"<tr><td><i>pictures</i>{pictures}", f"<tr><td><i>without a box</i>{negatives}"]
    return f"<table><tr><th>{heads}{''.join(rows)}</table>"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _finding(number: int, finding: Finding, found: Survey, folder: Path) -> str:
    if not finding.places:
        return f"<p>{escape(finding.text)}</p>"
    items = "".join(f"<li>{escape(place)}" for place in finding.places)
    sheet = ""
    if finding.groups:
        name = f"finding-{number}.jpg"
        rows = [
            contact_sheet([_drawn(look, found) for look in group[:MAX_MEMBERS]], cell=_CELL)
            for group in finding.groups[:MAX_GROUPS]
        ]
        save_jpeg(_stack(rows), folder / name)
        sheet = f'<p><img src="{name}" alt="these pictures side by side"></p>'
    return f"<details><summary>{escape(finding.text)}</summary><ul>{items}</ul>{sheet}</details>"


def _stack(images: Sequence[Image]) -> Image:
    """Put pictures below one another, white on the right of narrow ones."""
    width = max(image.shape[1] for image in images)
    return np.vstack(
        [np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255) for image in images]
    )


def _samples(found: Survey, folder: Path, progress: bool) -> list[str]:
    """Draw pictures of each class, chosen by chance but always the same, with all their boxes."""
    sections = []
    shown = found.classes[:MAX_CLASSES]
    for number, label in enumerate(tqdm(shown, "drawing samples", unit="class", disable=None if progress else True), 1):
        holders = {look.place: look for look in found.looks if look.small is not None and label in look.labels}
        chosen = split_names(holders, SAMPLES, seed=0)[0] if len(holders) > SAMPLES else list(holders)
        heading = f"<h3>{escape(label)}</h3>"
        if chosen:
            name = f"samples-{number}.jpg"
            sheet = contact_sheet([_drawn(holders[place], found) for place in chosen], columns=3, cell=_CELL)
            save_jpeg(np.vstack([sheet, legend(found.classes, sheet.shape[1])]), folder / name)
            heading += f'<p><img src="{name}" alt="{escape(label)}"><br>{escape(", ".join(chosen))}</p>'
        sections.append(heading)
    if len(found.classes) > MAX_CLASSES:
        sections.append(f"<p>The other {len(found.classes) - MAX_CLASSES} classes are not drawn.</p>")
    return sections


def _drawn(look: Look, found: Survey) -> Image:
    indices = {label: index for index, label in enumerate(found.classes)}
    boxes_px = [clipped_px(row) for row in look.rows]
    return annotate(read_rgb(look.path), boxes_px, [indices[label] for label in look.labels], found.classes)


def _plot_classes(found: Survey, path: Path) -> None:
    figure = Figure(figsize=(12, 1.5 + 0.3 * len(found.classes) * len(found.splits)), layout="constrained")
    axis = figure.subplots()
    height = 0.8 / len(found.splits)
    for number, split in enumerate(reversed(found.splits)):
        places = [index + number * height for index in range(len(found.classes))]
        counts = [split.boxes.get(label, 0) for label in found.classes]
        bars = axis.barh(places, counts, height, label=split.name, color=_color(len(found.splits) - 1 - number))
        axis.bar_label(bars, [f" {count:,} ({_share(count, split.num_boxes)})" for count in counts])
    axis.set_yticks([index + 0.4 - height / 2 for index in range(len(found.classes))], found.classes)
    axis.margins(x=0.15)
    axis.legend(loc="lower right", reverse=True)
    axis.set_title("boxes of each class")
    figure.savefig(path, dpi=100)


def _plot_sizes(found: Survey, path: Path) -> None:
    figure = Figure(figsize=(12, 4), layout="constrained")
    pictures, boxes, crowds = figure.subplots(1, 3)
    sides = [look.size for look in found.looks if look.size]
    pictures.scatter([width for width, _ in sides], [height for _, height in sides], s=12, alpha=0.4, color=_color(0))
    pictures.set(title="pictures", xlabel="width, px", ylabel="height, px", xlim=(0, None), ylim=(0, None))
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in map(clipped_px, found.rows)]
    sides_px = [max(1.0, area) ** 0.5 for area in areas]
    boxes.hist(sides_px, bins=np.geomspace(1, max(2.0, *sides_px), 30).tolist(), color=_color(0))
    boxes.set(title="boxes", xlabel="root of the area, px (dotted: COCO's small, medium, large)", xscale="log")
    for border in (SMALL_PX, MEDIUM_PX):
        boxes.axvline(border, color="black", linestyle=":", linewidth=1)
    counts = [min(len(look.rows), _CROWD) for look in found.looks]
    crowds.hist(counts, bins=[count - 0.5 for count in range(_CROWD + 2)], color=_color(0))
    crowds.set(title="boxes in a picture", xlabel=f"boxes ({_CROWD} stands for all above)")
    figure.savefig(path, dpi=100)


def _color(index: int) -> tuple[float, float, float]:
    red, green, blue = color_of(index)
    return red / 255, green / 255, blue / 255
