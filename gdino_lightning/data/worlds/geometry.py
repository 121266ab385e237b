"""Kinds: geometric shapes."""

import math

import numpy as np

from gdino_lightning.data.worlds.pen import BODY, HOLE, Kind, Part, arc, box, fill, line, oval, spokes, symmetric, vary


def _circle(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, oval(0, 0, 0.5))]


def _oval(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, oval(0, 0, 0.5, vary(rng, 0.26, 0.31)))]


def _square(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, box(-0.5, -0.5, 0.5, 0.5))]


def _triangle(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, [(vary(rng, -0.1, 0.1), -0.45), (0.5, 0.42), (-0.5, 0.42)])]


def _star(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, spokes(5, 0.5, vary(rng, 0.19, 0.23)))]


def _ring(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, oval(0, 0, 0.5)), fill(HOLE, oval(0, 0, vary(rng, 0.24, 0.3)))]


def _cross(rng: np.random.Generator) -> list[Part]:
    arm = vary(rng, 0.13, 0.18)
    return [fill(BODY, box(-arm, -0.5, arm, 0.5)), fill(BODY, box(-0.5, -arm, 0.5, arm))]


def _arrow(rng: np.random.Generator) -> list[Part]:
    shaft, neck = vary(rng, 0.1, 0.14), vary(rng, 0.0, 0.08)
    upper = [(-0.5, -shaft), (neck, -shaft), (neck, -0.34), (0.5, 0.0)]
    return [fill(BODY, [*upper, *((x, -y) for x, y in reversed(upper[:-1]))])]


def _heart(rng: np.random.Generator) -> list[Part]:
    dip = vary(rng, 0.2, 0.25)
    lobes = [fill(BODY, oval(x, -0.2, 0.255)) for x in (-0.235, 0.235)]
    return [*lobes, fill(BODY, symmetric([(0.0, -dip), (0.3, -0.25), (0.47, -0.11), (0.3, 0.16), (0.0, 0.48)]))]


def _crescent(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, oval(0, 0, 0.5)), fill(HOLE, oval(vary(rng, 0.24, 0.3), -0.06, 0.43))]


def _hexagon(rng: np.random.Generator) -> list[Part]:
    return [fill(BODY, spokes(3, 0.5, 0.5, first=0.0))]


def _diamond(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.3, 0.36)
    return [fill(BODY, [(0, -0.5), (half, 0), (0, 0.5), (-half, 0)])]


def _spiral(rng: np.random.Generator) -> list[Part]:
    turns, start = vary(rng, 2.1, 2.5), vary(rng, 0, 2 * math.pi)
    steps = [k / 60 for k in range(61)]
    angles = [start + 2 * math.pi * turns * s for s in steps]
    points = [(0.44 * s * math.cos(a), 0.44 * s * math.sin(a)) for s, a in zip(steps, angles, strict=True)]
    return [line(BODY, points, 0.095)]


def _drop(rng: np.random.Generator) -> list[Part]:
    tip = vary(rng, -0.53, -0.48)
    return [fill(BODY, np.concatenate((arc(0, 0.18, 0.32, 0.32, -28, 208), [[-0.05, tip + 0.1], [0.0, tip]])))]


KINDS = (
    Kind("circle", _circle),
    Kind("oval", _oval),
    Kind("square", _square),
    Kind("triangle", _triangle),
    Kind("star", _star),
    Kind("ring", _ring, patterned=False),
    Kind("cross", _cross, patterned=False),
    Kind("arrow", _arrow, patterned=False),
    Kind("heart", _heart),
    Kind("crescent", _crescent, patterned=False),
    Kind("hexagon", _hexagon),
    Kind("diamond", _diamond),
    Kind("spiral", _spiral, patterned=False),
    Kind("drop", _drop),
)
