"""Kinds: things of a house and its kitchen."""

import numpy as np

from gdino_lightning.data.worlds.pen import (
    BODY,
    COAL,
    DARK,
    HOLE,
    INK,
    LIGHT,
    PALE,
    Kind,
    Part,
    arc,
    box,
    fill,
    line,
    oval,
    rounded,
    symmetric,
    vary,
)


def _cup(rng: np.random.Generator) -> list[Part]:
    foot = vary(rng, 0.2, 0.26)
    handle = [fill(BODY, oval(0.28, 0.02, 0.22, 0.2)), fill(HOLE, oval(0.28, 0.02, 0.12, 0.1))]
    wall = fill(BODY, [(-0.42, -0.36), (0.3, -0.36), (foot, 0.38), (-0.12 - foot, 0.38)])
    return [*handle, wall, fill(DARK, oval(-0.06, -0.36, 0.36, 0.075))]


def _bottle(rng: np.random.Generator) -> list[Part]:
    half, neck = vary(rng, 0.16, 0.2), vary(rng, -0.2, -0.12)
    glass = [(0.065, -0.44), (0.065, neck - 0.06), (half, neck + 0.08), (half, 0.46), (half - 0.04, 0.5)]
    return [fill(BODY, symmetric(glass)), fill(COAL, box(-0.085, -0.52, 0.085, -0.4))]


def _teapot(rng: np.random.Generator) -> list[Part]:
    handle = [fill(BODY, oval(-0.32, 0.02, 0.18, 0.19)), fill(HOLE, oval(-0.32, 0.02, 0.1, 0.11))]
    spout = fill(BODY, [(0.2, 0.2), (0.26, 0.0), (0.42, -0.24), (0.53, -0.24), (0.42, 0.06), (0.28, 0.26)])
    knob = fill(DARK, oval(0, -0.34, 0.07))
    lid = fill(DARK, arc(0, -0.18, 0.2, vary(rng, 0.11, 0.14), 180, 360))
    return [*handle, spout, fill(BODY, oval(0, 0.08, 0.32, 0.28)), knob, lid]


def _candle(rng: np.random.Generator) -> list[Part]:
    top = vary(rng, -0.16, -0.06)
    flame = [fill(PALE, symmetric([(0.0, top - 0.36), (0.085, top - 0.18), (0.05, top - 0.08)]))]
    flame += [line(COAL, [(0, top), (0, top - 0.13)], 0.04)]
    plate = [fill(COAL, rounded(-0.3, 0.38, 0.3, 0.46, 0.04))]
    return [*flame, *plate, fill(BODY, box(-0.17, top, 0.17, 0.4))]


def _clock(rng: np.random.Generator) -> list[Part]:
    minute = arc(0, 0.02, 0.25, 0.25, (turn := vary(rng, 240, 300)), turn + 12)[0]
    hour = arc(0, 0.02, 0.16, 0.16, (turn := vary(rng, -20, 40)), turn + 12)[0]
    bells = [fill(DARK, oval(s * 0.3, -0.36, 0.13)) for s in (-1, 1)]
    feet = [line(COAL, [(s * 0.2, 0.3), (s * 0.3, 0.49)], 0.08) for s in (-1, 1)]
    dial = [fill(BODY, oval(0, 0.02, 0.46)), fill(PALE, oval(0, 0.02, 0.29))]
    return [*bells, *feet, *dial, line(COAL, [(0, 0.02), minute], 0.05), line(COAL, [(0, 0.02), hour], 0.06)]


def _book(rng: np.random.Generator) -> list[Part]:
    dip = vary(rng, 0.05, 0.09)
    cover = fill(BODY, symmetric([(0.0, -0.28 + dip), (0.5, -0.32), (0.5, 0.32), (0.0, 0.32 + dip)]))
    page = [(0.0, -0.26 + dip), (0.2, -0.33), (0.42, -0.31), (0.42, 0.2), (0.2, 0.18), (0.0, 0.26)]
    rows = [line(COAL, [(s * 0.08, y), (s * 0.34, y - 0.04)], 0.03) for s in (-1, 1) for y in (-0.12, -0.01, 0.1)]
    return [
        cover,
        fill(PALE, symmetric([(x * 0.84, y * 0.78) for x, y in page])),
        *rows,
        line(BODY, [(0, -0.2), (0, 0.3)], 0.05),
    ]


def _chair(rng: np.random.Generator) -> list[Part]:
    seat = vary(rng, 0.02, 0.08)
    legs = [line(DARK, [(x, seat + 0.04), (x, 0.46)], 0.085) for x in (-0.25, 0.27)]
    back = fill(BODY, [(-0.3, -0.5), (-0.16, -0.5), (-0.16, seat), (-0.3, seat)])
    return [*legs, back, fill(BODY, box(-0.3, seat - 0.03, 0.33, seat + 0.13))]


def _table(rng: np.random.Generator) -> list[Part]:
    thick = vary(rng, 0.14, 0.18)
    legs = [line(BODY, [(s * 0.36, -0.1), (s * 0.4, 0.34)], 0.1) for s in (-1, 1)]
    return [*legs, fill(BODY, box(-0.5, -0.26, 0.5, -0.26 + thick))]


def _lamp(rng: np.random.Generator) -> list[Part]:
    low = vary(rng, 0.0, 0.05)
    pole = line(COAL, [(0, low), (0, 0.42)], 0.07)
    foot = fill(COAL, [(-0.22, 0.5), (-0.16, 0.4), (0.16, 0.4), (0.22, 0.5)])
    return [pole, foot, fill(BODY, [(-0.18, -0.5), (0.18, -0.5), (0.38, low), (-0.38, low)])]


def _umbrella(rng: np.random.Generator) -> list[Part]:
    dome = arc(0, 0.0, 0.5, vary(rng, 0.42, 0.47), 180, 360)
    bites = [fill(HOLE, oval(x, 0.02, 0.105, 0.075)) for x in (-0.36, 0.0, 0.36)]
    ribs = [line(DARK, [(0, -0.4), (s * 0.18, -0.04)], 0.03) for s in (-1, 1)]
    stick = [line(COAL, [(0, -0.06), (0, 0.38), *arc(0.08, 0.4, 0.08, 0.09, 180, 0)], 0.055)]
    return [fill(BODY, dome), *ribs, *bites, *stick, line(COAL, [(0, -0.44), (0, -0.5)], 0.05)]


def _ladder(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.17, 0.21)
    rails = [line(BODY, [(s * half, -0.48), (s * half, 0.48)], 0.09) for s in (-1, 1)]
    return [*rails, *(line(BODY, [(-half, y), (half, y)], 0.07) for y in (-0.34, -0.11, 0.11, 0.34))]


def _key(rng: np.random.Generator) -> list[Part]:
    bow = [fill(BODY, oval(-0.29, 0, 0.21)), fill(HOLE, oval(-0.31, 0, 0.095))]
    teeth = [fill(BODY, box(x, 0.02, x + 0.085, y)) for x, y in ((0.2, 0.2), (0.38, vary(rng, 0.18, 0.25)))]
    return [*bow, fill(BODY, box(-0.1, -0.06, 0.48, 0.06)), *teeth]


def _lock(rng: np.random.Generator) -> list[Part]:
    rise = vary(rng, 0.2, 0.26)
    shackle = line(COAL, [(-0.2, 0.0), *arc(0, -0.2, 0.2, rise, 180, 360), (0.2, 0.0)], 0.1)
    hole = [fill(INK, oval(0, 0.16, 0.075)), fill(INK, [(-0.035, 0.18), (0.035, 0.18), (0.06, 0.34), (-0.06, 0.34)])]
    return [shackle, fill(BODY, rounded(-0.36, -0.06, 0.36, 0.46, 0.07)), *hole]


def _gift(rng: np.random.Generator) -> list[Part]:
    x = vary(rng, 0.05, 0.07)
    loops = [fill(LIGHT, oval(s * 0.15, -0.36, 0.15, 0.1)) for s in (-1, 1)]
    lid = fill(BODY, box(-0.47, -0.28, 0.47, -0.08))
    seam = line(DARK, [(-0.42, -0.06), (0.42, -0.06)], 0.04)
    return [*loops, fill(BODY, box(-0.42, -0.1, 0.42, 0.46)), lid, seam, fill(PALE, box(-x, -0.28, x, 0.46))]


def _bell(rng: np.random.Generator) -> list[Part]:
    flare = vary(rng, 0.42, 0.46)
    clapper = fill(COAL, oval(0, 0.4, 0.1))
    dome = [(0.0, -0.42), (0.16, -0.38), (0.25, -0.22), (0.28, 0.06), (flare, 0.3), (flare, 0.37)]
    return [
        clapper,
        fill(DARK, oval(0, -0.43, 0.075)),
        fill(BODY, symmetric(dome)),
        line(DARK, [(-0.3, 0.2), (0.3, 0.2)], 0.04),
    ]


KINDS = (
    Kind("cup", _cup),
    Kind("bottle", _bottle),
    Kind("teapot", _teapot),
    Kind("candle", _candle, patterned=False),
    Kind("clock", _clock, patterned=False),
    Kind("book", _book, patterned=False),
    Kind("chair", _chair, patterned=False),
    Kind("table", _table, patterned=False),
    Kind("lamp", _lamp),
    Kind("umbrella", _umbrella),
    Kind("ladder", _ladder, patterned=False),
    Kind("key", _key, patterned=False),
    Kind("lock", _lock, patterned=False),
    Kind("gift", _gift),
    Kind("bell", _bell),
)
