"""Plan a scene: which things, how large, where; and paint it.

Things are placed from large to small, each wholly inside the picture, later ones in front. Most stand free; some
may cover others, but of no thing more than `MOST_COVERED` is ever covered, of letters and digits nothing (an E
with its foot covered is an F). What finds no place is left out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdino_lightning.data.drawing.shapes import Canvas, distance
from gdino_lightning.data.worlds.backdrop import Backdrop, make_backdrop
from gdino_lightning.data.worlds.catalogue import KINDS, SIGNS, THINGS
from gdino_lightning.data.worlds.combinations import is_held_out
from gdino_lightning.data.worlds.paint import COLOURS, TEXTURES, contrast
from gdino_lightning.data.worlds.pen import pick
from gdino_lightning.data.worlds.scene import SPLITS, Scene, Split, Thing, size_word
from gdino_lightning.data.worlds.stamp import FINE, Stamp, make_stamp

MOST_COVERED = 0.35  # share of a thing that others may cover
LEAST_CONTRAST = 84.0  # RGB distance of a thing's colour to its background, and to a thing that it covers
FEWEST, MOST = 3, 8  # things planned

_SIDES = ((0.14, 0.18), (0.24, 0.31), (0.37, 0.5))  # longer side as a share of the picture's shorter: small to large
_SIDE_SHARES = (0.36, 0.66)  # cumulated shares of small, and of small and in-between
_MOST_LARGE = 2
_TEXTURED = 0.22  # share from which a texture can be seen
_SIGN_SHARE = 0.2  # of the things that are letters or digits
_SAME_KIND, _SAME_COLOUR = 0.2, 0.2  # shares of the things that look like another one of the scene
_HELD_OUT_SHARE = 0.6  # of the things of an 'unseen' scene, after its first
_OVERLAP_SHARE = 0.4  # of the things that may cover others
_TRIES = 25


@dataclass(frozen=True)
class Placed:
    """A drawn thing and the pixel of its upper left corner."""

    kind: str
    colour: str
    texture: str
    stamp: Stamp
    left: int
    top: int


@dataclass(frozen=True)
class Plan:
    """A scene before it is painted."""

    backdrop: Backdrop
    placed: tuple[Placed, ...]
    split: Split
    noise_seed: int


@dataclass(frozen=True)
class _Role:
    kind: str
    colour: str
    texture: str


def plan_scene(seed: int, index: int, split: Split, height: int, width: int) -> Plan:
    """Decide a scene: it follows from these arguments alone."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    backdrop = make_backdrop(rng, height, width)
    table = _Table(height, width)
    cast: list[_Role] = []
    for share in _shares(rng):
        wanted = split == "unseen" and (not cast or rng.random() < _HELD_OUT_SHARE)
        role = _role(rng, share, backdrop, cast, wanted)
        cast.append(role)
        table.place(rng, role, make_stamp(rng, KINDS[role.kind], role.colour, role.texture, share * table.shorter))
    return Plan(backdrop, tuple(table.placed), split, int(rng.integers(2**32)))


def paint_scene(plan: Plan) -> Scene:
    """Paint a planned scene."""
    canvas = plan.backdrop.canvas.copy()
    cells = np.zeros((canvas.shape[0] * FINE, canvas.shape[1] * FINE), dtype=np.uint8)
    for number, placed in enumerate(plan.placed, start=1):
        placed.stamp.put(canvas, placed.left, placed.top)
        _region(cells, placed.stamp, placed.left, placed.top)[placed.stamp.covers] = number
    shorter = min(canvas.shape[:2])
    things = tuple(_thing(placed, cells, number, shorter) for number, placed in enumerate(plan.placed, start=1))
    return Scene(_lit(np.random.default_rng(plan.noise_seed), canvas), things, plan.split)


class _Table:
    """The picture while things are placed: which cell shows which thing (1 for the first, 0 for none)."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width, self.shorter = height, width, min(height, width)
        self.placed: list[Placed] = []
        self._cells = np.zeros((height * FINE, width * FINE), dtype=np.uint8)
        self._whole: list[int] = [1]  # cells of each thing, the first for none
        self._covered: list[int] = [0]

    def place(self, rng: np.random.Generator, role: _Role, stamp: Stamp) -> None:
        """Find a place for a thing, or leave it out."""
        height, width = stamp.shape
        may_cover = rng.random() < _OVERLAP_SHARE
        for _ in range(_TRIES):
            left = int(rng.integers(0, self.width - width, endpoint=True))
            top = int(rng.integers(0, self.height - height, endpoint=True))
            region = _region(self._cells, stamp, left, top)
            hidden = np.bincount(region[stamp.covers], minlength=len(self._whole))
            if region.any() and not (may_cover and self._may_hide(role, hidden)):
                continue
            region[stamp.covers] = len(self._whole)
            self._covered = [old + int(new) for old, new in zip(self._covered, hidden, strict=True)] + [0]
            self._whole.append(int(hidden.sum()))
            self.placed.append(Placed(role.kind, role.colour, role.texture, stamp, left, top))
            return

    def _may_hide(self, role: _Role, hidden: npt.NDArray[np.intp]) -> bool:
        for number in np.flatnonzero(hidden[1:]) + 1:
            under = self.placed[number - 1]
            covered = (self._covered[number] + int(hidden[number])) / self._whole[number]
            clear = distance(COLOURS[role.colour], COLOURS[under.colour]) >= LEAST_CONTRAST
            if covered > MOST_COVERED or not KINDS[under.kind].covered or not clear:
                return False
        return True


def _shares(rng: np.random.Generator) -> list[float]:
    """Longer sides of the things to plan, the largest first, as shares of the picture's shorter side."""
    shares: list[float] = []
    for _ in range(int(rng.integers(FEWEST, MOST, endpoint=True))):
        grade = int(np.searchsorted(_SIDE_SHARES, rng.random()))
        if sum(share >= _SIDES[2][0] for share in shares) >= _MOST_LARGE:
            grade = min(grade, 1)
        shares.append(float(rng.uniform(*_SIDES[grade])))
    return sorted(shares, reverse=True)


def _role(rng: np.random.Generator, share: float, backdrop: Backdrop, cast: list[_Role], held_out: bool) -> _Role:
    """Choose what a thing is: seen against its background, and held out of pretraining or not, as wanted."""
    colours = [name for name in COLOURS if contrast(name, backdrop.colours) >= LEAST_CONTRAST]
    while True:
        kind = pick(rng, list(SIGNS) if rng.random() < _SIGN_SHARE else list(THINGS))
        colour, texture = pick(rng, colours), "plain"
        if cast and rng.random() < _SAME_KIND:
            kind = pick(rng, cast).kind
        elif cast and rng.random() < _SAME_COLOUR:
            colour = pick(rng, cast).colour
        if KINDS[kind].patterned and share >= _TEXTURED and rng.random() < 0.6:
            texture = pick(rng, TEXTURES[1:])
        if is_held_out(colour, texture, kind) == held_out:
            return _Role(kind, colour, texture)


def _region(cells: npt.NDArray[np.uint8], stamp: Stamp, left: int, top: int) -> npt.NDArray[np.uint8]:
    """View of the cells below a stamp."""
    height, width = stamp.labels.shape
    return cells[top * FINE : top * FINE + height, left * FINE : left * FINE + width]


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Smallest rectangle that holds all set cells, xyxy in cells."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _thing(placed: Placed, cells: npt.NDArray[np.uint8], number: int, shorter: int) -> Thing:
    seen = _region(cells, placed.stamp, placed.left, placed.top) == number
    x1, y1, x2, y2 = _extent(seen)
    whole = _extent(placed.stamp.covers)
    share = max(whole[2] - whole[0], whole[3] - whole[1]) / FINE / shorter
    left, top = placed.left, placed.top
    box_px = (left + x1 / FINE, top + y1 / FINE, left + x2 / FINE, top + y2 / FINE)
    visible = float(seen.sum() / placed.stamp.covers.sum())
    return Thing(placed.kind, placed.colour, placed.texture, size_word(share), box_px, visible)


def _lit(rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """Change the brightness a little and add some noise. Shape (H, W, 3)."""
    gain, level = float(rng.uniform(0.95, 1.04)), int(rng.integers(0, 5))
    values = np.rint(canvas * np.float32(gain)).astype(np.int16)
    if level:
        values += rng.integers(-level, level, canvas.shape[:2], dtype=np.int16, endpoint=True)[..., None]
    picture: Canvas = values.clip(0, 255).astype(np.uint8)
    return picture
