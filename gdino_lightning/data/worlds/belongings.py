"""Kinds: a face, what people wear, and what they make, play or write with."""

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
    flipped,
    line,
    oval,
    rounded,
    symmetric,
    vary,
)


def _face(rng: np.random.Generator) -> list[Part]:
    eyes = [fill(INK, oval(x, -0.12, 0.06, 0.09)) for x in (-0.17, 0.17)]
    smile = line(INK, arc(0, 0.08, 0.24, vary(rng, 0.14, 0.22), 15, 165), 0.065)
    return [fill(BODY, oval(0, 0, 0.46, 0.5)), *eyes, smile]


def _hat(rng: np.random.Generator) -> list[Part]:
    top = vary(rng, -0.34, -0.28)
    crown = fill(BODY, symmetric([(0.0, top + 0.04), (0.22, top), (0.28, 0.16)]))
    return [
        crown,
        fill(BODY, oval(0, 0.2, 0.5, 0.12)),
        fill(INK, [(-0.27, 0.06), (0.27, 0.06), (0.28, 0.13), (-0.28, 0.13)]),
    ]


def _glasses(rng: np.random.Generator) -> list[Part]:
    tall = vary(rng, 0.19, 0.22)
    parts = [line(BODY, [(s * 0.44, -0.04), (s * 0.5, -0.16)], 0.07) for s in (-1, 1)]
    parts += [fill(BODY, oval(s * 0.26, 0, 0.22, tall)) for s in (-1, 1)]
    parts += [line(BODY, [(-0.1, -0.05), (0.1, -0.05)], 0.08)]
    return parts + [fill(PALE, oval(s * 0.26, 0, 0.125, tall - 0.095)) for s in (-1, 1)]


def _shirt(rng: np.random.Generator) -> list[Part]:
    cuff = vary(rng, 0.0, 0.06)
    half = [(0.12, -0.44), (0.26, -0.42), (0.5, -0.16 + cuff), (0.37, 0.02 + cuff), (0.26, -0.1), (0.26, 0.46)]
    return [
        fill(BODY, symmetric(half)),
        fill(DARK, arc(0, -0.45, 0.15, 0.13, 0, 180)),
        fill(HOLE, arc(0, -0.48, 0.11, 0.11, 0, 180)),
    ]


def _trousers(rng: np.random.Generator) -> list[Part]:
    foot = vary(rng, 0.3, 0.36)
    half = [(0.24, -0.5), (foot, 0.5), (foot - 0.22, 0.5), (0.0, -0.1)]
    return [fill(BODY, symmetric(half)), fill(COAL, box(-0.25, -0.5, 0.25, -0.4))]


def _boot(rng: np.random.Generator) -> list[Part]:
    toe = vary(rng, 0.4, 0.46)
    leather = [(-0.28, -0.46), (0.08, -0.46), (0.1, 0.06), (toe - 0.1, 0.14), (toe, 0.26), (toe, 0.38), (-0.28, 0.38)]
    sole = [fill(COAL, box(-0.3, 0.36, toe + 0.02, 0.44)), fill(COAL, box(-0.3, 0.36, -0.08, 0.5))]
    return [fill(BODY, leather), *sole, line(DARK, [(-0.28, -0.37), (0.08, -0.37)], 0.05)]


def _crown(rng: np.random.Generator) -> list[Part]:
    dip = vary(rng, -0.04, 0.06)
    zigzag = [(0.0, -0.36), (0.2, dip), (0.46, -0.28), (0.38, 0.36)]
    gems = [fill(BODY, oval(x, y, 0.065)) for x, y in ((-0.46, -0.3), (0.0, -0.38), (0.46, -0.3))]
    studs = [fill(PALE, oval(x, 0.24, 0.05)) for x in (-0.2, 0.0, 0.2)]
    return [fill(BODY, symmetric(zigzag)), *gems, *studs]


def _robot(rng: np.random.Generator) -> list[Part]:
    wide = vary(rng, 0.3, 0.34)
    aerial = [line(COAL, [(0, -0.3), (0, -0.45)], 0.04), fill(COAL, oval(0, -0.47, 0.05))]
    limbs = [line(DARK, [(s * 0.15, 0.3), (s * 0.15, 0.48)], 0.11) for s in (-1, 1)]
    limbs += [line(DARK, [(s * wide, 0.04), (s * 0.44, 0.2)], 0.1) for s in (-1, 1)]
    head = [fill(BODY, rounded(-0.23, -0.36, 0.23, -0.04, 0.04)), fill(BODY, rounded(-wide, -0.01, wide, 0.34, 0.04))]
    eyes = [fill(PALE, oval(x, -0.22, 0.065)) for x in (-0.1, 0.1)] + [
        fill(COAL, oval(x, -0.22, 0.03)) for x in (-0.1, 0.1)
    ]
    return [*aerial, *limbs, *head, *eyes, line(INK, [(-0.1, -0.1), (0.1, -0.1)], 0.04)]


def _guitar(rng: np.random.Generator) -> list[Part]:
    low = vary(rng, 0.22, 0.25)
    neck = [line(COAL, [(0, -0.3), (0, 0.1)], 0.08), fill(DARK, box(-0.075, -0.52, 0.075, -0.32))]
    sound = [fill(BODY, oval(0, 0.28, low, 0.21)), fill(BODY, oval(0, 0.02, 0.18, 0.17))]
    return [*sound, *neck, fill(INK, oval(0, 0.14, 0.08)), line(INK, [(-0.1, 0.36), (0.1, 0.36)], 0.05)]


def _hammer(rng: np.random.Generator) -> list[Part]:
    handle = line(COAL, [(0, -0.2), (0, 0.46)], 0.1)
    claw = [(0.28, -0.44), (0.28, -0.2), (-0.14, -0.2), (-0.4, vary(rng, -0.16, -0.1)), (-0.16, -0.4)]
    return [handle, fill(BODY, claw), fill(BODY, box(0.26, -0.5, 0.42, -0.14)), fill(BODY, box(-0.1, -0.3, 0.1, -0.1))]


def _scissors(rng: np.random.Generator) -> list[Part]:
    spread = vary(rng, 0.15, 0.2)
    blades = [
        fill(PALE, [(s * -0.05, 0.06), (s * spread, -0.5), (s * (spread + 0.03), -0.3), (s * 0.06, 0.1)])
        for s in (-1, 1)
    ]
    loops = [line(BODY, [(0, 0.04), (s * 0.15, 0.22)], 0.11) for s in (-1, 1)]
    loops += [fill(BODY, oval(s * 0.2, 0.31, 0.18, 0.19)) for s in (-1, 1)]
    return [*blades, *loops, *(fill(HOLE, oval(s * 0.21, 0.32, 0.08, 0.09)) for s in (-1, 1))]


def _pencil(rng: np.random.Generator) -> list[Part]:
    thick = vary(rng, 0.11, 0.13)
    wood = [
        fill(PALE, [(0.24, -thick), (0.5, 0.0), (0.24, thick)]),
        fill(COAL, [(0.41, -0.045), (0.5, 0.0), (0.41, 0.045)]),
    ]
    rubber = [fill(LIGHT, box(-0.5, -thick, -0.4, thick)), fill(COAL, box(-0.4, -thick, -0.34, thick))]
    parts = [fill(BODY, box(-0.36, -thick, 0.26, thick)), *wood, *rubber]
    down = np.array([[0.8, 0.6], [-0.6, 0.8]])  # a slanted pencil takes less room
    return [Part(part.tone, part.points @ down, part.width) for part in parts]


def _envelope(rng: np.random.Generator) -> list[Part]:
    tip = vary(rng, 0.02, 0.08)
    folds = [[(-0.48, -0.3), (0, tip), (0.48, -0.3)], [(-0.47, 0.3), (-0.16, -0.06)], [(0.47, 0.3), (0.16, -0.06)]]
    return [fill(BODY, box(-0.5, -0.32, 0.5, 0.32)), *(line(INK, fold, 0.04) for fold in folds)]


def _balloon(rng: np.random.Generator) -> list[Part]:
    string = line(COAL, [(0, 0.2), (vary(rng, 0.03, 0.06), 0.33), (-0.04, 0.42), (0.02, 0.52)], 0.03)
    shine = fill(LIGHT, oval(-0.13, -0.3, 0.05, 0.09))
    return [string, fill(DARK, [(0, 0.1), (0.06, 0.22), (-0.06, 0.22)]), fill(BODY, oval(0, -0.17, 0.29, 0.34)), shine]


def _kite(rng: np.random.Generator) -> list[Part]:
    half = vary(rng, 0.26, 0.3)
    tail = [line(COAL, [(0, 0.16), (0.07, 0.28), (-0.04, 0.38), (0.06, 0.5)], 0.03)]
    bow = fill(DARK, [(-0.06, 0.22), (0.16, 0.34), (0.16, 0.24), (-0.06, 0.34)])
    sail = [(0, -0.52), (half, -0.22), (0, 0.2), (-half, -0.22)]
    return [*tail, bow, fill(BODY, sail), line(DARK, [sail[0], sail[2]], 0.03), line(DARK, [sail[1], sail[3]], 0.03)]


def _flag(rng: np.random.Generator) -> list[Part]:
    wave = vary(rng, 0.03, 0.08)
    cloth = [(-0.34, -0.46), (-0.06, -0.46 + wave), (0.2, -0.46 - wave / 2), (0.46, -0.42)]
    lower = [(0.46, 0.04), (0.2, -wave / 2), (-0.06, wave), (-0.34, 0.0)]
    return [fill(BODY, [*cloth, *lower]), line(COAL, [(-0.36, -0.48), (-0.36, 0.48)], 0.07)]


def _anchor(rng: np.random.Generator) -> list[Part]:
    barb = fill(BODY, [(0.28, 0.16), (0.5, 0.02), (0.48, 0.28)])
    loop = [fill(BODY, oval(0, -0.36, 0.14)), fill(HOLE, oval(0, -0.36, 0.06))]
    hook = line(BODY, arc(0, 0.04, 0.37, vary(rng, 0.34, 0.38), 12, 168), 0.115)
    stock = line(BODY, [(-0.22, -0.16), (0.22, -0.16)], 0.1)
    return [*loop, line(BODY, [(0, -0.22), (0, 0.38)], 0.115), stock, hook, barb, fill(BODY, flipped(barb.points))]


def _television(rng: np.random.Generator) -> list[Part]:
    spread = vary(rng, 0.16, 0.22)
    aerials = [line(COAL, [(0, -0.22), (s * spread, -0.48)], 0.04) for s in (-1, 1)]
    feet = [line(COAL, [(s * 0.26, 0.36), (s * 0.3, 0.46)], 0.07) for s in (-1, 1)]
    screen = fill(PALE, rounded(-0.38, -0.13, 0.14, 0.26, 0.07))
    knobs = [fill(INK, oval(0.33, y, 0.05)) for y in (-0.05, 0.12)]
    return [*aerials, *feet, fill(BODY, rounded(-0.5, -0.26, 0.5, 0.4, 0.07)), screen, *knobs]


KINDS = (
    Kind("face", _face),
    Kind("hat", _hat),
    Kind("glasses", _glasses, patterned=False),
    Kind("shirt", _shirt),
    Kind("trousers", _trousers),
    Kind("boot", _boot),
    Kind("crown", _crown),
    Kind("robot", _robot, patterned=False),
    Kind("guitar", _guitar, patterned=False),
    Kind("hammer", _hammer, patterned=False),
    Kind("scissors", _scissors, patterned=False),
    Kind("pencil", _pencil, patterned=False),
    Kind("envelope", _envelope),
    Kind("balloon", _balloon),
    Kind("kite", _kite, patterned=False),
    Kind("flag", _flag),
    Kind("anchor", _anchor, patterned=False),
    Kind("television", _television, patterned=False),
)
