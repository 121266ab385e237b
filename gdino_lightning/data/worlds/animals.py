"""Kinds: animals."""

import math

import numpy as np

from gdino_lightning.data.worlds.pen import (
    BODY,
    COAL,
    DARK,
    INK,
    LIGHT,
    PALE,
    Kind,
    Part,
    arc,
    fill,
    flipped,
    line,
    oval,
    vary,
)


def _eye(x: float, y: float, radius: float = 0.06) -> list[Part]:
    return [fill(PALE, oval(x, y, radius)), fill(COAL, oval(x, y, radius * 0.55))]


def _fish(rng: np.random.Generator) -> list[Part]:
    tall = vary(rng, 0.22, 0.27)
    tail = fill(BODY, [(0.18, 0), (0.5, -0.26), (0.43, 0), (0.5, 0.26)])
    fins = [fill(DARK, [(-0.18, -tall * 0.8), (0.1, -0.37), (0.12, -tall * 0.6)])]
    gill = line(DARK, arc(-0.28, 0, 0.1, 0.16, -70, 70), 0.035)
    return [tail, *fins, fill(BODY, oval(-0.1, 0, 0.38, tall)), gill, *_eye(-0.33, -0.06, 0.055)]


def _cat(rng: np.random.Generator) -> list[Part]:
    tip = vary(rng, -0.5, -0.44)
    ear = fill(BODY, [(0.08, -0.24), (0.37, tip), (0.4, 0.0)])
    inner = fill(DARK, [(0.19, -0.25), (0.33, tip + 0.12), (0.35, -0.12)])
    head = fill(BODY, oval(0, 0.08, 0.42, 0.36))
    eyes = [part for x in (-0.18, 0.18) for part in _eye(x, 0.0, 0.075)]
    hairs = [line(INK, [(s * 0.17, 0.17 + d), (s * 0.5, 0.13 + 3 * d)], 0.026) for s in (-1, 1) for d in (0.0, 0.045)]
    ears = [ear, fill(BODY, flipped(ear.points)), inner, fill(DARK, flipped(inner.points))]
    nose = fill(INK, [(-0.055, 0.12), (0.055, 0.12), (0, 0.19)])
    return [*ears[:2], head, *ears[2:], *eyes, nose, *hairs]


def _rabbit(rng: np.random.Generator) -> list[Part]:
    lean = vary(rng, 0.0, 0.06)
    ears, inner = [], []
    for side in (-1, 1):
        points = oval(0, -0.3, 0.1, 0.25)
        shift = np.stack((side * (0.15 - lean * (points[:, 1] + 0.1)), np.zeros(len(points))), axis=1)
        ears.append(fill(BODY, points + shift))
        inner.append(fill(DARK, (points - (0, -0.28)) * (0.45, 0.7) + (0, -0.28) + shift))
    head = fill(BODY, oval(0, 0.2, 0.31, 0.3))
    eyes = [fill(INK, oval(x, 0.13, 0.05)) for x in (-0.13, 0.13)]
    teeth = fill(PALE, [(-0.06, 0.31), (0.06, 0.31), (0.05, 0.42), (-0.05, 0.42)])
    return [*ears, head, *inner, *eyes, fill(INK, oval(0, 0.25, 0.045, 0.035)), teeth]


def _bird(rng: np.random.Generator) -> list[Part]:
    tail = fill(BODY, [(-0.2, 0.0), (-0.5, -0.16), (-0.48, 0.1)])
    legs = [line(COAL, [(x, 0.22), (x, 0.46)], 0.04) for x in (-0.06, 0.08)]
    beak = fill(COAL, [(0.36, -0.3), (0.52, -0.21), (0.36, -0.15)])
    wing = fill(DARK, arc(-0.08, vary(rng, -0.04, 0.0), 0.21, 0.21, -5, 185))
    head = fill(BODY, oval(0.23, -0.24, 0.18))
    return [*legs, tail, fill(BODY, oval(0, 0.05, 0.33, 0.25)), beak, head, wing, *_eye(0.27, -0.27, 0.05)]


def _duck(rng: np.random.Generator) -> list[Part]:
    hull = [(-0.5, -0.08), *arc(0, 0.12, 0.47, 0.28, 165, 15), (0.36, 0.02), (0.1, 0.04), (-0.2, 0.06)]
    neck = line(BODY, [(0.2, 0.1), (0.22, -0.2)], 0.2)
    bill = fill(COAL, [(0.33, -0.33), (0.52, -0.27), (0.52, -0.21), (0.33, -0.18)])
    wing = fill(DARK, arc(-0.08, 0.14, vary(rng, 0.19, 0.24), 0.14, 0, 180))
    return [neck, fill(BODY, hull), bill, fill(BODY, oval(0.22, -0.26, 0.17)), wing, fill(INK, oval(0.26, -0.3, 0.035))]


def _butterfly(rng: np.random.Generator) -> list[Part]:
    upper = fill(BODY, [(0.02, 0.02), (0.1, -0.22), (0.3, -0.42), (0.48, -0.38), (0.5, -0.16), (0.34, 0.04)])
    lower = fill(BODY, oval(0.22, 0.19, 0.2, vary(rng, 0.2, 0.23)))
    wings = [upper, lower, fill(BODY, flipped(upper.points)), fill(BODY, flipped(lower.points))]
    spots = [fill(LIGHT, oval(s * 0.34, -0.22, 0.075)) for s in (-1, 1)]
    feelers = [line(COAL, [(0, -0.28), (s * 0.11, -0.47)], 0.03) for s in (-1, 1)]
    return [*wings, *spots, *feelers, line(COAL, [(0, -0.26), (0, 0.32)], 0.085)]


def _snail(rng: np.random.Generator) -> list[Part]:
    foot = [(-0.5, 0.42), (-0.3, 0.3), (0.22, 0.26), (0.3, -0.04), (0.46, -0.06), (0.48, 0.2), (0.4, 0.42)]
    horns = [line(LIGHT, [(0.38, -0.04), (x, -0.26)], 0.04) for x in (0.32, 0.47)]
    tips = [fill(COAL, oval(x, -0.27, 0.04)) for x in (0.32, 0.47)]
    steps = [k / 24 for k in range(25)]
    swirl = [(-0.08 + 0.22 * s * math.cos(12 * s), 0.02 + 0.22 * s * math.sin(12 * s)) for s in steps]
    shell = fill(BODY, oval(-0.08, 0.02, vary(rng, 0.31, 0.34)))
    return [*horns, *tips, fill(LIGHT, foot), shell, line(INK, swirl, 0.05)]


def _turtle(rng: np.random.Generator) -> list[Part]:
    legs = [fill(DARK, oval(x, 0.24, 0.085, 0.13)) for x in (-0.24, 0.14)]
    head = [fill(DARK, oval(0.4, 0.06, 0.12, 0.11)), fill(DARK, [(-0.5, 0.22), (-0.3, 0.06), (-0.26, 0.2)])]
    shell = fill(BODY, [*arc(-0.05, 0.17, 0.37, vary(rng, 0.42, 0.48), 180, 360)])
    return [*legs, *head, shell, line(DARK, [(-0.4, 0.18), (0.32, 0.18)], 0.07), *_eye(0.43, 0.03, 0.04)]


def _spider(rng: np.random.Generator) -> list[Part]:
    reach = vary(rng, 0.44, 0.48)
    knees = ((-0.3, -0.24, -0.42), (-0.34, -0.1, -0.08), (-0.34, 0.06, 0.22), (-0.28, 0.22, 0.46))
    legs = [
        line(BODY, [(0, 0.02), (s * -x, y), (s * reach * (1 if abs(end) < 0.3 else 0.86), end)], 0.055)
        for s in (-1, 1)
        for x, y, end in knees
    ]
    eyes = [fill(INK, oval(x, -0.17, 0.035)) for x in (-0.06, 0.06)]
    return [*legs, fill(BODY, oval(0, 0.12, 0.22, 0.25)), fill(BODY, oval(0, -0.15, 0.15)), *eyes]


def _whale(rng: np.random.Generator) -> list[Part]:
    trunk = [(-0.48, 0.1), *arc(-0.12, 0.1, 0.36, vary(rng, 0.27, 0.31), 180, 318), (0.32, 0.06), (0.36, -0.1)]
    trunk += [(0.46, -0.08), (0.42, 0.16), (0.2, 0.34), (-0.3, 0.36)]
    flukes = fill(BODY, [(0.4, -0.06), (0.24, -0.22), (0.4, -0.2), (0.54, -0.26), (0.48, -0.06)])
    spout = [
        line(COAL, arc(s * 0.09 - 0.14, -0.3, 0.09, 0.12, *a), 0.04) for s, a in ((-1, (0, -150)), (1, (180, 330)))
    ]
    belly = fill(PALE, [(-0.46, 0.18), (0.16, 0.2), (0.1, 0.34), (-0.3, 0.36)])
    return [*spout, flukes, fill(BODY, trunk), belly, *_eye(-0.28, 0.03, 0.045)]


def _snake(rng: np.random.Generator) -> list[Part]:
    steps = [k / 30 for k in range(31)]
    high = vary(rng, 0.14, 0.18)
    back = [(-0.42 + 0.76 * s, 0.1 + high * math.sin(2.2 * math.pi * 2 * s * 0.75)) for s in steps]
    neck = [back[-1], (0.37, -0.05), (0.4, -0.16)]
    tongue = line(COAL, [(0.44, -0.2), (0.52, -0.27)], 0.035)
    return [
        tongue,
        line(BODY, [*back, *neck], 0.13),
        fill(BODY, oval(0.38, -0.18, 0.12, 0.1)),
        *_eye(0.38, -0.21, 0.045),
    ]


KINDS = (
    Kind("fish", _fish),
    Kind("cat", _cat),
    Kind("rabbit", _rabbit),
    Kind("bird", _bird, patterned=False),
    Kind("duck", _duck),
    Kind("butterfly", _butterfly),
    Kind("snail", _snail, patterned=False),
    Kind("turtle", _turtle, patterned=False),
    Kind("spider", _spider, patterned=False),
    Kind("whale", _whale),
    Kind("snake", _snake, patterned=False),
)
