"""Object Detection in the Wild (Li et al. 2022, "ELEVATER"): 35 small datasets, 13 of them GLIP's; their average AP."""

import re
import statistics
from collections.abc import Mapping

# the beginnings of the names that the 35 have in published lists
ODINW35 = (
    *("AerialMaritimeDrone_large", "AerialMaritimeDrone_tiled", "AmericanSignLanguageLetters", "Aquarium", "BCCD"),
    *("boggleBoards", "brackishUnderwater", "ChessPieces", "CottontailRabbits", "dice", "DroneControl"),
    *("EgoHands_generic", "EgoHands_specific", "HardHatWorkers", "MaskWearing", "MountainDewCommercial"),
    *("NorthAmericaMushrooms", "openPoetryVision", "OxfordPets_by-breed", "OxfordPets_by-species", "Packages"),
    *("PascalVOC", "pistols", "PKLot", "plantdoc", "pothole", "Raccoon", "selfdrivingCar", "ShellfishOpenImages"),
    *(
        "ThermalCheetah",
        "thermalDogsAndPeople",
        "UnoCards",
        "VehiclesOpenImages",
        "websiteScreenshots",
        "WildfireSmoke",
    ),
)
ODINW13 = (
    *("AerialMaritimeDrone_large", "Aquarium", "CottontailRabbits", "EgoHands_generic", "NorthAmericaMushrooms"),
    *("Packages", "PascalVOC", "pistols", "pothole", "Raccoon", "ShellfishOpenImages", "thermalDogsAndPeople"),
    "VehiclesOpenImages",
)


def averages(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of all datasets, and of ODinW13 and ODinW35 where all of them are there.

    Args:
        scores: Name of a dataset -> its AP; a name begins as in the lists, in letters of any case.
    """
    found = {"all": statistics.fmean(scores.values())} if scores else {}
    for title, names in (("ODinW13", ODINW13), ("ODinW35", ODINW35)):
        members = [ap for each in names for ap in _of(each, scores)]
        if len(members) == len(names):
            found[title] = statistics.fmean(members)
    return found


def _of(listed: str, scores: Mapping[str, float]) -> list[float]:
    """The AP of a dataset of the lists, once, if it is there."""
    return [ap for name, ap in scores.items() if _plain(name).startswith(_plain(listed))][:1]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
