"""Kinds: capital letters and digits, drawn with a broad pen.

Those that look like another kind are left out: I, O, Q, 0 and 1 (bars and rings), B and S (8 and 5), D and Z (O and 2).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from gdino_lightning.data.worlds.pen import BODY, Corners, Kind, Part, arc, line, vary

_X, _Y = 0.3, 0.42  # half width and half height of a letter, to the middle of the pen
_BOWL = [(-_X, _Y), (-_X, -_Y), (0.06, -_Y), *arc(0.06, -0.2, 0.24, 0.22, 270, 450), (-_X, 0.02)]

_STROKES: dict[str, Sequence[Corners]] = {
    "letter A": ([(-0.34, _Y), (0, -_Y), (0.34, _Y)], [(-0.22, 0.14), (0.22, 0.14)]),
    "letter C": (arc(0.04, 0, 0.36, 0.42, -48, -312),),
    "letter E": ([(_X, -_Y), (-_X, -_Y), (-_X, _Y), (_X, _Y)], [(-_X, 0), (0.2, 0)]),
    "letter F": ([(_X, -_Y), (-_X, -_Y), (-_X, _Y)], [(-_X, 0), (0.2, 0)]),
    "letter G": ([*arc(0.04, 0, 0.36, 0.42, -48, -330), (0.36, 0.06), (0.1, 0.06)],),
    "letter H": ([(-_X, -_Y), (-_X, _Y)], [(_X, -_Y), (_X, _Y)], [(-_X, 0), (_X, 0)]),
    "letter J": ([(0.22, -_Y), *arc(-0.02, 0.18, 0.24, 0.24, 0, 170)], [(0.0, -_Y), (0.36, -_Y)]),
    "letter K": ([(-_X, -_Y), (-_X, _Y)], [(_X, -_Y), (-0.24, 0.04)], [(-0.1, -0.06), (_X, _Y)]),
    "letter L": ([(-0.26, -_Y), (-0.26, _Y), (0.28, _Y)],),
    "letter M": ([(-0.38, _Y), (-0.34, -_Y), (0, 0.16), (0.34, -_Y), (0.38, _Y)],),
    "letter N": ([(-_X, _Y), (-_X, -_Y), (_X, _Y), (_X, -_Y)],),
    "letter P": (_BOWL,),
    "letter R": (_BOWL, [(0.0, 0.04), (_X, _Y)]),
    "letter T": ([(-0.36, -_Y), (0.36, -_Y)], [(0, -_Y), (0, _Y)]),
    "letter U": ([(-_X, -_Y), *arc(0, 0.12, _X, 0.3, 180, 0), (_X, -_Y)],),
    "letter V": ([(-0.36, -_Y), (0, _Y), (0.36, -_Y)],),
    "letter W": ([(-0.44, -_Y), (-0.22, _Y), (0, -0.14), (0.22, _Y), (0.44, -_Y)],),
    "letter X": ([(-0.34, -_Y), (0.34, _Y)], [(0.34, -_Y), (-0.34, _Y)]),
    "letter Y": ([(-0.36, -_Y), (0, 0.02), (0.36, -_Y)], [(0, 0.02), (0, _Y)]),
    "digit 2": ([*arc(0, -0.18, 0.26, 0.24, 190, 400), (-0.28, _Y), (0.3, _Y)],),
    "digit 3": ([*arc(-0.02, -0.21, 0.25, 0.21, 205, 450), *arc(-0.02, 0.2, 0.28, 0.22, 270, 510)],),
    "digit 4": ([(0.14, _Y), (0.14, -_Y), (-0.3, 0.16), (0.34, 0.16)],),
    "digit 5": ([(0.24, -_Y), (-0.2, -_Y), (-0.24, -0.04), *arc(-0.02, 0.15, 0.28, 0.27, 230, 510)],),
    "digit 6": ([(0.16, -_Y), (-0.16, -0.08), *arc(0, 0.17, 0.26, 0.25, 200, 560)],),
    "digit 7": ([(-0.3, -_Y), (0.3, -_Y), (-0.08, _Y)],),
    "digit 8": (arc(0, -0.21, 0.22, 0.21, 0, 360), arc(0, 0.2, 0.27, 0.22, 0, 360)),
    "digit 9": ([(-0.16, _Y), (0.16, 0.08), *arc(0, -0.17, 0.26, 0.25, 20, 380)],),
}


def _sign(rng: np.random.Generator, strokes: Sequence[Corners]) -> list[Part]:
    pen = vary(rng, 0.14, 0.19)
    return [line(BODY, stroke, pen) for stroke in strokes]


KINDS = tuple(
    Kind(name, partial(_sign, strokes=strokes), patterned=False, mirrored=False, covered=False)
    for name, strokes in _STROKES.items()
)
