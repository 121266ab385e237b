"""Boxes, scores and captions drawn on pictures: single, ground truth beside predictions, contact sheets.

All pictures are (H, W, 3) uint8 RGB; functions return new ones and leave their input as it was.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

# Okabe & Ito 2008, "Color Universal Design": told apart with every kind of colour vision; black is for text
PALETTE: tuple[Color, ...] = (
    (0, 158, 115),
    (230, 159, 0),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (0, 114, 178),
)
_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.42
_PAD = 3  # px around a text in its strip
_CAPTION_HEIGHT = 24  # px
_READABLE = 640  # px of the shorter side up to which texts and lines keep their size; they grow with larger pictures
_NAMED, _SCORED = 12, 40  # boxes up to which names and scores, or scores alone, leave the picture visible


def color_of(label: int) -> Color:
    """Return the RGB colour of a class index; colours repeat after the palette's end."""
    return PALETTE[label % len(PALETTE)]


def colors_of(names: Sequence[str]) -> list[Color]:
    """Return a colour for each name that follows from the name, so that runs and phrase lists agree where they can.

    A name whose colour is taken by an earlier one gets the next that is free; when all are taken, they begin anew.
    """
    colors: list[Color] = []
    free: list[Color] = []
    for name in names:
        free = free or list(PALETTE)
        wanted = zlib.crc32(name.encode("utf-8", "surrogatepass")) % len(PALETTE)
        colors.append(next(each for each in (*PALETTE[wanted:], *PALETTE[:wanted]) if each in free))
        free.remove(colors[-1])
    return colors


def enlarge(image: Image, min_side: int) -> tuple[Image, float]:
    """Enlarge a picture until its shorter side has `min_side` px; return it and the factor, at least 1."""
    factor = max(1.0, min_side / min(image.shape[:2]))
    if factor == 1.0:
        return image.copy(), factor
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8), factor


def draw_boxes(
    image: Image,
    boxes_px: npt.ArrayLike,
    texts: Sequence[str],
    colors: Sequence[Color],
    *,
    min_side: int = 480,
) -> Image:
    """Draw thin boxes, each with its text on a filled strip that stays inside the picture.

    Args:
        image: (H, W, 3) uint8 RGB; a small one is enlarged first, so that text is readable.
        boxes_px: (N, 4) xyxy_px in `image`.
        texts: N texts; an empty one draws no strip.
        colors: N RGB colours.
        min_side: px of the shorter side of the result, at least.

    Returns:
        The picture with the boxes, (H', W', 3) uint8 RGB.
    """
    canvas, factor = enlarge(image, min_side)
    corners = np.rint(np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4) * factor).astype(int)
    scale = _scale(canvas)
    limit = np.array([canvas.shape[1], canvas.shape[0]] * 2) - 1
    corners = np.clip(corners, 0, limit)
    for (x1, y1, x2, y2), color in zip(corners.tolist(), colors, strict=True):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness=round(2 * scale), lineType=cv2.LINE_AA)
    # texts after all boxes: no line runs through a text
    for (x1, y1, _, _), text, color in zip(corners.tolist(), texts, colors, strict=True):
        if text:
            _write(canvas, text, x1, y1, color, scale)
    return canvas


def annotate(
    image: Image,
    boxes_px: npt.ArrayLike,
    labels: Sequence[int],
    class_names: Sequence[str],
    scores: Sequence[float] | None = None,
    *,
    colors: Sequence[Color] | None = None,
    min_side: int = 480,
) -> Image:
    """Draw boxes in the colours of their classes, named, with their scores where there are any.

    In a crowd only the scores are written, in a large crowd nothing; the colours still tell the classes (see
    `legend`). `colors` are those of the classes, by default `color_of` each.
    """
    colors = [color_of(label) for label in range(len(class_names))] if colors is None else colors
    named = [class_names[label] if len(labels) <= _NAMED else "" for label in labels]
    scored = [f"{score:.2f}" if len(labels) <= _SCORED else "" for score in scores or []] or [""] * len(labels)
    texts = [f"{name} {score}".strip() for name, score in zip(named, scored, strict=True)]
    return draw_boxes(image, boxes_px, texts, [colors[label] for label in labels], min_side=min_side)


def annotate_with_legend(
    image: Image,
    boxes_px: npt.ArrayLike,
    labels: Sequence[int],
    class_names: Sequence[str],
    scores: Sequence[float],
    colors: Sequence[Color],
) -> Image:
    """Draw as `annotate` does; where there are too many boxes for names, a legend of what was found stands below."""
    drawn = annotate(image, boxes_px, labels, class_names, scores, colors=colors)
    if len(labels) <= _NAMED:
        return drawn
    found, scale = sorted(set(labels)), _scale(drawn)
    names = legend([class_names[i] for i in found], round(drawn.shape[1] / scale), [colors[i] for i in found])
    size = (drawn.shape[1], round(names.shape[0] * scale))
    return np.vstack([drawn, np.asarray(cv2.resize(names, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)])


def side_by_side(truth: Image, prediction: Image, class_names: Sequence[str], title: str = "") -> Image:
    """Put two annotated pictures of one size beside each other, captioned, over the legend of the classes."""
    gap = np.full((truth.shape[0], 4, 3), 255, dtype=np.uint8)
    pair = np.hstack([truth, gap, prediction])
    captions = np.full((_CAPTION_HEIGHT, pair.shape[1], 3), 255, dtype=np.uint8)
    _put_text(captions, f"ground truth  {title}".strip(), 6, _CAPTION_HEIGHT - 7, _BLACK)
    _put_text(captions, "prediction", truth.shape[1] + gap.shape[1] + 6, _CAPTION_HEIGHT - 7, _BLACK)
    return np.vstack([captions, pair, legend(class_names, pair.shape[1])])


def legend(class_names: Sequence[str], width: int, colors: Sequence[Color] | None = None) -> Image:
    """Draw the colours (by default `color_of` each) and names of the classes in lines of `width` px."""
    colors = [color_of(label) for label in range(len(class_names))] if colors is None else colors
    places: list[tuple[int, int]] = []
    x, line = 6, 0
    for name in class_names:
        entry = 26 + _text_size(name)[0]
        if x > 6 and x + entry > width:
            x, line = 6, line + 1
        places.append((x, line))
        x += entry
    canvas = np.full((_CAPTION_HEIGHT * (line + 1), width, 3), 255, dtype=np.uint8)
    for name, color, (left, row) in zip(class_names, colors, places, strict=True):
        base = _CAPTION_HEIGHT * (row + 1) - 7
        cv2.rectangle(canvas, (left, base - 10), (left + 10, base), color, thickness=-1)
        _put_text(canvas, name, left + 15, base, _BLACK)
    return canvas


def contact_sheet(images: Sequence[Image], *, columns: int = 4, cell: int = 480) -> Image:
    """Lay pictures out in a grid on white, each shrunk to fit `cell` x `cell` px; rows are as high as needed.

    Raises:
        ValueError: there are no pictures.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    small = [shrink(image, cell - 8) for image in images]
    rows = [small[i : i + columns] for i in range(0, len(small), columns)]
    return np.vstack([_row(row, min(columns, len(small)), cell) for row in rows])


def shrink(image: Image, max_side: int) -> Image:
    """Shrink a picture until no side is longer than `max_side` px; a small one stays as it is."""
    factor = min(1.0, max_side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """Return a picture as a JPEG file; `quality` is 0..100."""
    return encode(image, ".jpg", quality)


def encode(image: Image, suffix: str, quality: int = 90) -> bytes:
    """Return a picture as a file of the kind that `suffix` names, such as ".png"."""
    lossy = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".jpeg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    options = [lossy[suffix], quality] if suffix in lossy else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def save_jpeg(image: Image, path: Path) -> None:
    """Write a picture as JPEG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(image))


def _row(images: Sequence[Image], columns: int, cell: int) -> Image:
    height = max(image.shape[0] for image in images) + 8
    row = np.full((height, columns * cell, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top = (height - image.shape[0]) // 2
        left = i * cell + (cell - image.shape[1]) // 2
        row[top : top + image.shape[0], left : left + image.shape[1]] = image
    return row


def _scale(image: Image) -> float:
    """How much larger than usual texts and lines must be in this picture."""
    height, width = image.shape[:2]
    return max(1.0, int(min(height, width)) / _READABLE)


def _text_size(text: str, scale: float = 1.0) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE * scale, round(scale))
    return width, height


def _put_text(canvas: Image, text: str, x: int, baseline: int, color: Color, scale: float = 1.0) -> None:
    cv2.putText(canvas, text, (x, baseline), _FONT, _FONT_SCALE * scale, color, round(scale), cv2.LINE_AA)


def _write(canvas: Image, text: str, x: int, y: int, color: Color, scale: float) -> None:
    """Write on a filled strip with its lower left corner at (x, y), moved inside the canvas where need be."""
    pad = round(_PAD * scale)
    width, height = _text_size(text, scale)
    width, height = width + 2 * pad, height + 2 * pad
    left = max(0, min(x, canvas.shape[1] - width))
    top = max(0, min(y - height, canvas.shape[0] - height))
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), color, thickness=-1)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]  # ITU-R BT.601
    _put_text(canvas, text, left + pad, top + height - pad, _BLACK if luminance > 110 else _WHITE, scale)
