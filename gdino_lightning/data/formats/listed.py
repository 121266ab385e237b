"""What formats share whose annotation files name the pictures: which picture of the source a name means."""

from abc import abstractmethod
from collections import Counter, defaultdict
from pathlib import PurePosixPath

from gdino_lightning.data.annotation import Annotation, Problem
from gdino_lightning.data.fields import IMAGE_SUFFIXES, shown
from gdino_lightning.data.source import Claims, Sizes, Source, named_apart, parent_of, split_in
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.errors import DatasetError


class PictureFinder:
    """Finds the picture of a tree that a name or path in an annotation file means.

    Args:
        tree: The source.
    """

    def __init__(self, tree: Tree) -> None:
        self._paths: dict[str, list[str]] = defaultdict(list)
        for path in tree.with_suffix(*IMAGE_SUFFIXES):
            self._paths[path.rpartition("/")[2]].append(path)

    def find(self, named: str, near: str, split: str | None = None) -> str:
        """Return the path of a picture.

        Of several that the name fits, the one is taken that shares most folders with `near`, then one in a folder
        named after the split.

        Args:
            named: Bare name or path, absolute or not, of any machine: its end decides.
            near: Folder of the annotation file.
            split: What the annotation file is of.

        Raises:
            ValueError: None fits, or several do.
        """
        parts = [part for part in named.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        candidates = self._paths.get(parts[-1], []) if parts else []
        ends = {path: _shared_end(path.split("/"), parts) for path in candidates}
        fits = {path for path, fit in ends.items() if fit == max(ends.values())}
        nearness = {path: (_shared_start(path, near), split_in(parent_of(path)) == split) for path in fits}
        fits = {path for path, fit in nearness.items() if fit == max(nearness.values())}
        if not fits:
            raise ValueError(f"no picture {shown(named)}; add the picture or remove its annotation")
        if len(fits) > 1:
            found = " or ".join(sorted(fits)[:3])
            raise ValueError(f"picture {shown(named)} could be {found}; name its folder as well")
        return next(iter(fits))


class ListedSource(Source):
    """A source whose annotation files name their pictures; they are read when it is opened.

    Pictures that no file names are left out, and a picture that is named without an object is a negative.
    """

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self._finder = PictureFinder(tree)
        self._found: dict[str, list[Annotation]] = {}
        self._problems: list[Problem] = []
        self._counts: Counter[str] = Counter()
        splits: dict[str, str] = {}
        files = self._files(tree)
        for path, file in files.items():
            before = set(self._found)
            self._read_file(path, file)
            if split := split_in(path):
                splits |= dict.fromkeys(self._found.keys() - before, split)
        self.annotations = tuple(files.values())
        if not self._found:
            first = f" {self._problems[0].text};" if self._problems else ""
            raise DatasetError(f"{tree.path}:{first} no picture that {next(iter(files))} names is there; {self.layout}")
        self._names = named_apart({path: tree.files[path] for path in self._found}, tree.path.name)
        self.pictures = tuple(self._names.values())
        self.split_of = {self._names[path].name: split for path, split in splits.items()}
        unnamed = sum(map(len, self._finder._paths.values())) - len(self._found)
        if unnamed:
            self.notes.append(f"{unnamed:,} pictures that no annotation file names are left out")
        self.notes += [f"{count:,} {what}" for what, count in self._counts.items()]

    def annotate(self, sizes: Sizes, problems: list[Problem]) -> Claims:
        """Return what was read."""
        problems += self._problems
        return {self._names[path].name: claims for path, claims in self._found.items()}

    @staticmethod
    @abstractmethod
    def _files(tree: Tree) -> dict[str, SourceFile]:
        """The annotation files, by their paths."""

    @abstractmethod
    def _read_file(self, path: str, file: SourceFile) -> None:
        """Read one of them, with `_claim` for each picture and `_refuse` for what cannot be used."""

    def _claim(self, named: str, path: str, annotation: Annotation) -> None:
        """Add what the annotation file at `path` says of a picture."""
        try:
            picture = self._finder.find(named, parent_of(path), split_in(path))
        except ValueError as error:
            self._refuse("annotation", "annotation without its picture", f"{annotation.where}: {error}")
            return
        self._add(self._found.setdefault(picture, []), annotation)

    def _add(self, claims: list[Annotation], annotation: Annotation) -> None:
        """Add to what was said of a picture; more than one claim is a problem, unless a format puts them together."""
        claims.append(annotation)

    def _refuse(self, drops: str, reason: str, text: str) -> None:
        self._problems.append(Problem(drops, reason, text))


def _shared_end(path: list[str], named: list[str]) -> int:
    """How many parts two paths have in common from their ends on."""
    count = 0
    for own, other in zip(reversed(path), reversed(named), strict=False):
        if own != other:
            break
        count += 1
    return count


def _shared_start(path: str, near: str) -> int:
    """How many folders a path has in common with a folder from the top on."""
    count = 0
    for own, other in zip(PurePosixPath(path).parts, PurePosixPath(near).parts, strict=False):
        if own != other:
            break
        count += 1
    return count
