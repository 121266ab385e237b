"""Kinds: buildings and vehicles."""

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


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    return [fill(COAL, oval(x, y, radius)), fill(PALE, oval(x, y, radius * 0.42))]


def _house(rng: np.random.Generator) -> list[Part]:
    ridge, x = vary(rng, -0.5, -0.42), vary(rng, -0.22, -0.12)
    chimney = fill(DARK, box(0.2, -0.44, 0.32, -0.1))
    roof = [fill(BODY, [(0, ridge), (0.5, -0.04), (-0.5, -0.04)]), line(DARK, [(-0.46, -0.03), (0.46, -0.03)], 0.06)]
    panes = [fill(PALE, box(0.1, 0.08, 0.29, 0.26))]
    door = fill(INK, box(x - 0.09, 0.16, x + 0.09, 0.48))
    return [chimney, fill(BODY, box(-0.4, -0.06, 0.4, 0.48)), *roof, door, *panes]


def _castle(rng: np.random.Generator) -> list[Part]:
    high = vary(rng, -0.36, -0.28)
    towers = [box(-0.48, high, -0.2, 0.46), box(0.2, high, 0.48, 0.46), box(-0.24, -0.08, 0.24, 0.46)]
    teeth = [box(x, high - 0.13, x + 0.085, high + 0.01) for x in (-0.48, -0.383, -0.285, 0.2, 0.298, 0.395)]
    teeth += [box(x, -0.18, x + 0.08, -0.06) for x in (-0.14, 0.06)]
    gate = fill(INK, np.concatenate((arc(0, 0.24, 0.11, 0.12, 180, 360), [[0.11, 0.46], [-0.11, 0.46]])))
    slits = [fill(INK, box(x - 0.03, -0.1, x + 0.03, 0.06)) for x in (-0.34, 0.34)]
    return [*(fill(BODY, shape) for shape in (*towers, *teeth)), gate, *slits]


def _tent(rng: np.random.Generator) -> list[Part]:
    peak = vary(rng, -0.04, 0.04)
    flap = fill(INK, [(peak, -0.12), (0.16, 0.38), (-0.16, 0.38)])
    poles = [line(COAL, [(peak - s * 0.04, -0.32), (peak + s * 0.07, -0.47)], 0.035) for s in (-1, 1)]
    return [*poles, fill(BODY, [(peak, -0.38), (0.5, 0.38), (-0.5, 0.38)]), flap]


def _car(rng: np.random.Generator) -> list[Part]:
    back, front = vary(rng, -0.32, -0.26), vary(rng, 0.12, 0.18)
    cabin = [(back - 0.1, -0.02), (back, -0.27), (front, -0.27), (front + 0.16, -0.02)]
    glass = [(back - 0.02, -0.03), (back + 0.04, -0.21), (front - 0.02, -0.21), (front + 0.09, -0.03)]
    hull = rounded(-0.5, -0.05, 0.5, 0.2, 0.09)
    wheels = [part for x in (-0.27, 0.27) for part in _wheel(x, 0.2, 0.125)]
    pillar = fill(BODY, box((back + front) / 2 - 0.03, -0.27, (back + front) / 2 + 0.03, 0.0))
    return [fill(BODY, cabin), fill(PALE, glass), pillar, fill(BODY, hull), *wheels]


def _bus(rng: np.random.Generator) -> list[Part]:
    top = vary(rng, -0.35, -0.3)
    panes = [fill(PALE, box(x, top + 0.08, x + 0.15, top + 0.25)) for x in (-0.43, -0.22, -0.01, 0.2)]
    wheels = [part for x in (-0.27, 0.27) for part in _wheel(x, 0.27, 0.105)]
    return [fill(BODY, rounded(-0.5, top, 0.5, 0.28, 0.06)), *panes, *wheels]


def _train(rng: np.random.Generator) -> list[Part]:
    chimney = vary(rng, 0.22, 0.28)
    parts = [
        fill(DARK, [(chimney - 0.09, -0.36), (chimney + 0.11, -0.36), (chimney + 0.07, -0.05), (chimney - 0.05, -0.05)])
    ]
    parts += [fill(BODY, box(-0.46, -0.38, -0.08, 0.2)), fill(BODY, rounded(-0.1, -0.1, 0.44, 0.2, 0.06))]
    parts += [line(DARK, [(-0.5, -0.38), (-0.04, -0.38)], 0.08), fill(PALE, box(-0.37, -0.27, -0.17, -0.07))]
    parts += [fill(COAL, [(0.4, 0.12), (0.52, 0.3), (0.36, 0.3)])]
    return parts + [
        part for x, r in ((-0.28, 0.15), (0.05, 0.11), (0.29, 0.11)) for part in _wheel(x, 0.34 - r + 0.04, r)
    ]


def _bicycle(rng: np.random.Generator) -> list[Part]:
    seat, bar = (-0.12, -0.14), (0.2, vary(rng, -0.2, -0.16))
    parts = []
    for x in (-0.28, 0.28):
        parts += [fill(BODY, oval(x, 0.14, 0.22)), fill(HOLE, oval(x, 0.14, 0.145))]
    frame = [(-0.28, 0.14), seat, bar, (0.0, 0.14), (-0.28, 0.14)]
    parts += [line(BODY, frame, 0.06), line(BODY, [seat, (0.0, 0.14)], 0.06), line(BODY, [(0.28, 0.14), bar], 0.06)]
    parts += [line(COAL, [(-0.2, -0.21), (-0.04, -0.21)], 0.07), line(BODY, [seat, (-0.13, -0.2)], 0.05)]
    return [*parts, line(COAL, [bar, (0.18, -0.3), (0.3, -0.32)], 0.055)]


def _boat(rng: np.random.Generator) -> list[Part]:
    tip = vary(rng, -0.5, -0.44)
    sails = [
        fill(PALE, [(0.04, tip), (0.4, 0.1), (0.04, 0.1)]),
        fill(LIGHT, [(-0.06, tip + 0.1), (-0.06, 0.1), (-0.34, 0.1)]),
    ]
    mast = line(COAL, [(-0.01, tip), (-0.01, 0.2)], 0.045)
    return [*sails, mast, fill(BODY, [(-0.5, 0.15), (0.5, 0.15), (0.34, 0.46), (-0.32, 0.46)])]


def _rocket(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.15, 0.18)
    fins = fill(DARK, symmetric([(half - 0.03, 0.02), (0.33, 0.3), (0.31, 0.42), (half - 0.04, 0.3)]))
    flame = fill(PALE, [(-0.09, 0.34), (0.09, 0.34), (0.0, 0.54)])
    hull = fill(BODY, symmetric([(0.0, -0.52), (0.1, -0.38), (half, -0.16), (half, 0.12), (0.1, 0.36)]))
    return [fins, flame, hull, fill(PALE, oval(0, -0.13, 0.085)), fill(COAL, oval(0, -0.13, 0.05))]


def _plane(rng: np.random.Generator) -> list[Part]:
    sweep = vary(rng, 0.12, 0.2)
    wing = fill(DARK, [(0.1, 0.0), (-0.02, 0.0), (-sweep - 0.06, 0.34), (-sweep + 0.08, 0.34)])
    far = fill(DARK, [(0.12, -0.08), (0.0, -0.08), (-sweep + 0.02, -0.3), (-sweep + 0.12, -0.3)])
    tail = fill(BODY, [(-0.34, 0.0), (-0.5, -0.26), (-0.4, -0.26), (-0.2, -0.06)])
    hull = fill(BODY, rounded(-0.48, -0.11, 0.5, 0.11, 0.1))
    panes = [fill(PALE, oval(x, -0.025, 0.035)) for x in (-0.2, -0.07, 0.06, 0.19)]
    return [far, tail, hull, *panes, fill(PALE, [(0.32, -0.08), (0.42, -0.05), (0.44, 0.0), (0.32, 0.0)]), wing]


KINDS = (
    Kind("house", _house),
    Kind("castle", _castle),
    Kind("tent", _tent),
    Kind("car", _car, patterned=False),
    Kind("bus", _bus),
    Kind("train", _train, patterned=False),
    Kind("bicycle", _bicycle, patterned=False),
    Kind("boat", _boat, patterned=False),
    Kind("rocket", _rocket, patterned=False),
    Kind("plane", _plane, patterned=False),
)
