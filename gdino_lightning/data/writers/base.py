"""What every writer is: splits of checked pictures in, paths of pictures and bytes of annotation files out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from gdino_lightning.data.arrange import Splits
from gdino_lightning.data.check import CheckedPicture
from gdino_lightning.errors import DatasetError


@dataclass(frozen=True)
class Writer:
    """One format.

    Attributes:
        folder_of: Name of a split -> the folder of its pictures.
        write: Splits and class names -> path below the root -> bytes of an annotation file.
        keeps_captions: It has a place for texts with phrases.
    """

    folder_of: Callable[[str], str]
    write: Callable[[Splits, list[str]], Mapping[str, bytes]]
    keeps_captions: bool = False


def stems_apart(pictures: Iterable[CheckedPicture], suffix: str) -> dict[str, str]:
    """Name of a picture -> the name of its annotation file.

    Raises:
        DatasetError: Two pictures differ in their suffixes alone.
    """
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for item in pictures:
        name = f"{PurePosixPath(item.picture.name).stem}{suffix}"
        first = taken.setdefault(name.casefold(), item.picture.name)
        if first != item.picture.name:
            raise DatasetError(f"{item.picture.where}: {first} would share {name} with it; rename one of them")
        names[item.picture.name] = name
    return names
