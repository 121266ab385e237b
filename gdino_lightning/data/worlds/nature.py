"""Kinds: plants, fruit and the sky."""

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
    spokes,
    symmetric,
    vary,
)


def _tree(rng: np.random.Generator) -> list[Part]:
    top = vary(rng, -0.32, -0.26)
    crowns = [(0, top, 0.24), (-0.22, -0.08, 0.22), (0.22, -0.08, 0.22), (0, -0.02, 0.24)]
    trunk = fill(COAL, [(-0.07, 0.1), (0.07, 0.1), (0.11, 0.52), (-0.11, 0.52)])
    return [trunk, *(fill(BODY, oval(x, y, r)) for x, y, r in crowns)]


def _flower(rng: np.random.Generator) -> list[Part]:
    reach = vary(rng, 0.19, 0.22)
    petals = [oval(x * reach / 0.2, y * reach / 0.2 - 0.17, 0.15) for x, y in spokes(3, 0.2, 0.2)]
    stem = [line(COAL, [(0, 0), (0, 0.5)], 0.055), fill(COAL, oval(0.13, 0.34, 0.13, 0.055))]
    return [*stem, *(fill(BODY, petal) for petal in petals), fill(PALE, oval(0, -0.17, 0.115))]


def _mushroom(rng: np.random.Generator) -> list[Part]:
    wide = vary(rng, 0.46, 0.52)
    stem = fill(PALE, symmetric([(0.12, 0.0), (0.11, 0.25), (0.17, 0.48)]))
    return [stem, fill(BODY, [*arc(0, 0.06, wide, 0.5, 180, 360), (wide - 0.08, 0.13), (0.08 - wide, 0.13)])]


def _leaf(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.24, 0.29)
    blade = [(0, -0.5), (half * 0.65, -0.3), (half, -0.05), (half * 0.8, 0.16), (0, 0.36)]
    veins = [[(0, y), (side * half * 0.6, y - 0.14)] for y in (-0.08, 0.14) for side in (-1, 1)]
    ribs = [line(DARK, vein, 0.03) for vein in veins]
    return [fill(BODY, symmetric(blade)), *ribs, line(DARK, [(0, -0.36), (0, 0.5)], 0.05)]


def _cactus(rng: np.random.Generator) -> list[Part]:
    left, right = vary(rng, -0.05, 0.05), vary(rng, -0.02, 0.12)
    arms = [
        line(BODY, [(0, left + 0.15), (-0.28, left + 0.15), (-0.28, left - 0.15)], 0.15),
        line(BODY, [(0, right + 0.1), (0.28, right + 0.1), (0.28, right - 0.2)], 0.15),
    ]
    pot = fill(COAL, [(-0.24, 0.34), (0.24, 0.34), (0.17, 0.54), (-0.17, 0.54)])
    return [*arms, line(BODY, [(0, -0.38), (0, 0.36)], 0.23), pot]


def _apple(rng: np.random.Generator) -> list[Part]:
    halves = [fill(BODY, oval(x, 0.08, 0.29, 0.38)) for x in (-0.17, 0.17)]
    leaf = fill(LIGHT, oval(0.17, -0.4, 0.13, 0.07))
    return [leaf, *halves, line(COAL, [(0, -0.22), (vary(rng, -0.06, 0.04), -0.5)], 0.065)]


def _banana(rng: np.random.Generator) -> list[Part]:
    thick = vary(rng, 0.0, 0.04)
    outer = arc(0, -0.42, 0.5, 0.72 + thick, 12, 168)
    inner = arc(0, -0.42, 0.44, 0.4, 168, 12)
    ends = [line(COAL, [(-0.485, -0.28), (-0.47, -0.36)], 0.08), line(COAL, [(0.485, -0.28), (0.47, -0.36)], 0.06)]
    return [fill(BODY, np.concatenate((outer, inner))), *ends]


def _carrot(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.17, 0.21)
    leaves = [line(COAL, [(0, -0.2), (x, -0.5)], 0.075) for x in (-0.16, 0.0, 0.16)]
    root = fill(BODY, symmetric([(half * 0.6, -0.25), (half, -0.18), (half * 0.8, 0.02), (0.02, 0.52)]))
    rings = [line(DARK, [(x, y), (x + 0.12, y)], 0.035) for x, y in ((-0.17, -0.06), (0.02, 0.06), (-0.1, 0.2))]
    return [*leaves, root, *rings]


def _sun(rng: np.random.Generator) -> list[Part]:
    rays = spokes(8, 0.48, 0.48)[::2] if rng.random() < 0.5 else spokes(9, 0.48, 0.48)[::2]
    return [*(line(BODY, [ray * 0.74, ray], 0.085) for ray in rays), fill(BODY, oval(0, 0, 0.28))]


def _cloud(rng: np.random.Generator) -> list[Part]:
    puffs = [(-0.28, 0.08, 0.21), (-0.06, -0.08, vary(rng, 0.24, 0.28)), (0.2, -0.02, 0.22), (0.33, 0.12, 0.17)]
    return [*(fill(BODY, oval(x, y, r)) for x, y, r in puffs), fill(BODY, rounded(-0.46, 0.06, 0.48, 0.29, 0.11))]


def _snowman(rng: np.random.Generator) -> list[Part]:
    hat = [fill(COAL, box(-0.12, -0.5, 0.12, -0.3)), line(COAL, [(-0.19, -0.3), (0.19, -0.3)], 0.05)]
    arms = [line(COAL, [(s * 0.2, 0.0), (s * vary(rng, 0.38, 0.44), -0.16)], 0.045) for s in (-1, 1)]
    balls = [fill(BODY, oval(0, 0.28, 0.27, 0.25)), fill(BODY, oval(0, -0.01, 0.2)), fill(BODY, oval(0, -0.23, 0.145))]
    dots = [fill(INK, oval(x, y, 0.03)) for x, y in ((-0.055, -0.25), (0.055, -0.25), (0, 0.0), (0, 0.2), (0, 0.32))]
    return [*arms, *balls, *hat, *dots, line(INK, [(-0.05, -0.16), (0.05, -0.16)], 0.03)]


def _cherries(rng: np.random.Generator) -> list[Part]:
    top = (vary(rng, 0.0, 0.1), -0.46)
    stems = [line(COAL, [(x, 0.1), (x * 0.5, -0.2), top], 0.05) for x in (-0.25, 0.27)]
    balls = [fill(BODY, oval(-0.26, 0.24, 0.23)), fill(BODY, oval(0.26, 0.26, 0.23))]
    return [*stems, *balls, *(fill(LIGHT, oval(x, 0.17, 0.05)) for x in (-0.33, 0.19))]


def _ice_cream(rng: np.random.Generator) -> list[Part]:
    cone = [fill(PALE, [(-0.22, 0.02), (0.22, 0.02), (0, 0.52)])]
    lines = [line(COAL, [(a, 0.05), (b, 0.28)], 0.025) for a, b in ((-0.14, 0.08), (0.14, -0.08))]
    scoop = [fill(BODY, oval(0, -0.17, vary(rng, 0.29, 0.33))), fill(BODY, rounded(-0.32, -0.1, 0.32, 0.07, 0.08))]
    return [*cone, *lines, *scoop]


def _cake(rng: np.random.Generator) -> list[Part]:
    candles = [line(COAL, [(x, -0.22), (x, -0.4)], 0.055) for x in (-0.22, 0.0, 0.22)]
    flames = [fill(PALE, oval(x, -0.47, 0.04, 0.06)) for x in (-0.22, 0.0, 0.22)]
    top = [fill(BODY, box(-0.34, -0.22, 0.34, 0.06)), fill(BODY, box(-0.48, 0.08, 0.48, 0.42))]
    edge = vary(rng, 0.09, 0.12)
    icing = [fill(PALE, rounded(-0.48, 0.06, 0.48, 0.06 + edge, 0.04)), line(HOLE, [(-0.6, 0.47), (0.6, 0.47)], 0.05)]
    return [*candles, *flames, *top, *icing]


KINDS = (
    Kind("tree", _tree),
    Kind("flower", _flower),
    Kind("mushroom", _mushroom),
    Kind("leaf", _leaf, patterned=False),
    Kind("cactus", _cactus),
    Kind("apple", _apple),
    Kind("banana", _banana),
    Kind("carrot", _carrot, patterned=False),
    Kind("cherries", _cherries),
    Kind("ice cream", _ice_cream),
    Kind("cake", _cake),
    Kind("sun", _sun),
    Kind("cloud", _cloud),
    Kind("snowman", _snowman, patterned=False),
)
