"""All kinds of things of the drawn world, by name."""

from gdino_lightning.data.worlds import animals, belongings, geometry, household, nature, places, signs
from gdino_lightning.data.worlds.pen import Kind

SIGNS: dict[str, Kind] = {kind.name: kind for kind in signs.KINDS}
THINGS: dict[str, Kind] = {
    kind.name: kind for room in (geometry, nature, animals, places, household, belongings) for kind in room.KINDS
}
KINDS: dict[str, Kind] = THINGS | SIGNS
