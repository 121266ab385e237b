"""Opens a dataset in whatever accepted format it is, recognised by looking at it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gdino_lightning.data.fields import shown
from gdino_lightning.data.formats.coco import CocoSource
from gdino_lightning.data.formats.imagefolder import ImageFolderSource
from gdino_lightning.data.formats.odvg import OdvgSource
from gdino_lightning.data.formats.parquet import ParquetSource
from gdino_lightning.data.formats.tables import TableSource
from gdino_lightning.data.formats.voc import VocSource
from gdino_lightning.data.formats.yolo import YoloSource
from gdino_lightning.data.source import Source, parent_of
from gdino_lightning.data.tree import Tree, open_tree
from gdino_lightning.errors import DatasetError, listed

_SOURCES = (TableSource, VocSource, CocoSource, OdvgSource, YoloSource, ImageFolderSource, ParquetSource)
FORMATS: dict[str, type[Source]] = {source.format: source for source in _SOURCES}
ACCEPTED = "accepted: a folder or .zip archive of " + "; ".join(source.layout for source in FORMATS.values())

_DEEPEST = 2  # folders around a dataset, as in VOCdevkit/VOC2012/
_MOST_NAMED = 8


@contextmanager
def open_source(path: Path, format_name: str | None = None) -> Iterator[Source]:
    """Open a dataset folder or zip archive.

    Args:
        path: The folder or archive; a dataset inside one or two single folders is found.
        format_name: One of `FORMATS`; None takes the first that the dataset looks like, in their order.

    Raises:
        DatasetError: It is missing, damaged, unsafe, of no accepted layout, or holds several datasets.
    """
    with open_tree(path) as tree:
        formats = FORMATS if format_name is None else {format_name: FORMATS[format_name]}
        top, found = _find(tree, formats)
        source = FORMATS[found[0]](tree.below(top))
        if len(found) > 1:
            source.notes.append(f"also looks like {', '.join(found[1:])}; --format chooses")
        yield source


def _find(tree: Tree, formats: dict[str, type[Source]]) -> tuple[str, list[str]]:
    """The folder that the dataset lies in ("" is the top) and the formats that it looks like."""
    for depth in range(_DEEPEST + 1):
        tops = [""] if depth == 0 else sorted(folder for folder in tree.folders if folder.count("/") == depth - 1)
        found = {top: [name for name in formats if formats[name].recognise(tree.below(top))] for top in tops}
        recognised = {top: names for top, names in found.items() if names}
        if len(recognised) == 1:
            return next(iter(recognised.items()))
        if recognised:
            names = listed(map(_printable, recognised), _MOST_NAMED)
            raise DatasetError(f"{tree.path}: several datasets inside ({names}); name one of these as the source")
    if len(formats) == 1:
        (source,) = formats.values()
        raise DatasetError(f"{tree.path}: does not look like {source.format}: {source.layout}; found {_present(tree)}")
    raise DatasetError(f"{tree.path}: no dataset of a known layout, found {_present(tree)}; {ACCEPTED}")


def _present(tree: Tree) -> str:
    """What a folder holds, for a user who thought that it held a dataset."""
    tops = Counter(path.partition("/")[0] for path in tree.files if "/" in path)
    folders = dict.fromkeys(folder for folder in sorted(tree.folders) if "/" not in folder)
    parts = [f"{_printable(folder)}/ ({tops[folder]:,} files)" for folder in folders]
    suffixes = Counter(file.suffix or "no suffix" for path, file in tree.files.items() if not parent_of(path))
    parts += [f"{count:,} {_printable(suffix)}" for suffix, count in suffixes.most_common()]
    return listed(parts, _MOST_NAMED) or "nothing"


def _printable(name: str) -> str:
    return name if name.isprintable() else shown(name)
