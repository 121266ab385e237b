"""Pascal VOC: one XML file for each picture.

Pictures and XML lie in `images/` and `annotations/` (the devkit: `JPEGImages/` and `Annotations/`), or side by side as
Roboflow exports them; either at the top or in a folder for each split. The devkit's `ImageSets/Main/` tells the splits
as well, and then only the pictures that it lists are used: of the others not every object is annotated.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from gdino_lightning.data.annotation import Annotation, Problem
from gdino_lightning.data.fields import IMAGE_SUFFIXES
from gdino_lightning.data.parallel import map_pictures
from gdino_lightning.data.source import Claims, Sizes, Source, named_apart, parent_of, split_in, stem_of
from gdino_lightning.data.tree import SourceFile, Tree
from gdino_lightning.data.voc import VocAnnotation, scan_voc
from gdino_lightning.errors import DatasetError

_PICTURES = ("images", "jpegimages")
_ANNOTATIONS = ("annotations",)
_IMAGE_SETS = "ImageSets/Main"
_SET_NAMES = {"train": "train", "val": "val", "test": "test", "trainval": "train"}  # the last for what no other lists


@dataclass(frozen=True)
class _Part:
    """Two folders that belong together, one folder twice where all lies side by side, and the files in them."""

    pictures_folder: str
    annotations_folder: str
    pictures: dict[str, SourceFile] = field(default_factory=dict)
    xmls: dict[str, SourceFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ReadXml:
    path: str
    file: SourceFile
    annotation: VocAnnotation | None
    problems: tuple[Problem, ...]


class VocSource(Source):
    """A dataset of VOC XML files."""

    format = "voc"
    layout = "VOC (images/ and annotations/*.xml; JPEGImages/, Annotations/ and ImageSets/; or XML beside the pictures)"

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree)
        self._parts = [self._list(part) for part in _parts(tree)]
        for kind, folder in (("pictures", "pictures_folder"), ("xmls", "annotations_folder")):
            if not any(getattr(part, kind) for part in self._parts):
                raise DatasetError(f"{tree.path}: nothing usable in {getattr(self._parts[0], folder)}/")
        sets = self._image_sets()
        if sets:
            self._keep_only(sets)
        pictures = {path: file for part in self._parts for path, file in part.pictures.items()}
        xmls = {path: file for part in self._parts for path, file in part.xmls.items()}
        self._names = named_apart(pictures, f"{tree.path.name}/{self._parts[0].pictures_folder}")
        self._kept_as = named_apart(xmls, f"{tree.path.name}/{self._parts[0].annotations_folder}")
        self.pictures = tuple(self._names.values())
        self.annotations = tuple(self._kept_as.values())
        splits = {path: sets[stem_of(path)] if sets else split_in(parent_of(path)) for path in pictures}
        self.split_of = {self._names[path].name: split for path, split in splits.items() if split}

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether XML files lie where VOC has them."""
        folders = {part.annotations_folder for part in _parts(tree)}
        return any(parent_of(path) in folders for path in tree.with_suffix(".xml"))

    def annotate(self, sizes: Sizes, problems: list[Problem]) -> Claims:
        """Read every XML and find the picture that it is for."""
        read = [map_pictures(self._read_xml, list(part.xmls), "XML files", progress=False) for part in self._parts]
        problems += [problem for xmls in read for xml in xmls for problem in xml.problems]
        claims: Claims = defaultdict(list)
        for part, xmls in zip(self._parts, read, strict=True):
            by_picture = _find_pictures(xmls, part, problems)
            for path in part.pictures:
                found = by_picture.get(path, [])
                claims[self._names[path].name] = [self._annotation(xml, path) for xml in found]
                if not found:
                    problems.append(_without_annotation(part.pictures[path], part.annotations_folder))
        return claims

    def _list(self, part: _Part) -> _Part:
        for folder in dict.fromkeys((part.pictures_folder, part.annotations_folder)):
            if folder and (inner := sorted(path for path in self.tree.folders if parent_of(path) == folder)):
                where = f"{self.tree.path}/{inner[0]}"
                raise DatasetError(f"{where}: {folder}/ holds a folder; put its files directly into it")
            for path, file in self.tree.children(folder).items():
                if folder == part.pictures_folder and file.suffix in IMAGE_SUFFIXES:
                    part.pictures[path] = file
                elif folder == part.annotations_folder and file.suffix == ".xml":
                    part.xmls[path] = file
                elif part.pictures_folder != part.annotations_folder:
                    self.ignored += (path,)
        return part

    def _image_sets(self) -> dict[str, str]:
        """Stem of a listed picture -> its split."""
        sets: dict[str, str] = {}
        for name, split in _SET_NAMES.items():
            file = self.tree.files.get(f"{_IMAGE_SETS}/{name}.txt")
            if file is not None:
                for line in self._read_annotation(file).decode("utf-8", "replace").splitlines():
                    if line.strip():
                        sets.setdefault(line.split()[0], split)
        return sets

    def _keep_only(self, stems: Mapping[str, str]) -> None:
        left_out = 0
        for part in self._parts:
            for files in (part.pictures, part.xmls):
                unlisted = [path for path in files if stem_of(path) not in stems]
                left_out += len(unlisted) * (files is part.pictures)
                for path in unlisted:
                    del files[path]
        if not any(part.pictures for part in self._parts):
            raise DatasetError(f"{self.tree.path}: no picture is listed in {_IMAGE_SETS}/; check the lists")
        if left_out:
            self.notes.append(f"{left_out:,} pictures that {_IMAGE_SETS}/ does not list are left out")

    def _read_xml(self, path: str) -> _ReadXml:
        file = self._kept_as[path]
        try:
            annotation, errors = scan_voc(self._read_annotation(file), file.where)
        except DatasetError as error:
            return _ReadXml(path, file, None, (Problem("annotation", "unreadable annotation", str(error)),))
        problems = tuple(Problem("box", "unreadable object", str(error)) for error in errors)
        return _ReadXml(path, file, annotation, problems)

    def _annotation(self, xml: _ReadXml, picture: str) -> Annotation:
        if xml.annotation is None:
            return Annotation(xml.file, readable=False)
        return Annotation(
            xml.file,
            xml.annotation.objects,
            size=xml.annotation.size,
            size_name="<size>",
            own_file=True,
            matched_by_name=xml.annotation.filename != PurePosixPath(picture).name,
            incomplete=bool(xml.problems),
        )


def _parts(tree: Tree) -> list[_Part]:
    """Find the folders of pictures and XML, at the top or in folders named after splits."""
    tops = ["", *sorted(folder for folder in tree.folders if "/" not in folder and split_in(folder))]
    parts = []
    for top in tops:
        inner = {path.rpartition("/")[2].lower(): path for path in sorted(tree.folders) if parent_of(path) == top}
        pictures = next((inner[name] for name in _PICTURES if name in inner), None)
        annotations = next((inner[name] for name in _ANNOTATIONS if name in inner), None)
        if pictures is not None and annotations is not None:
            parts.append(_Part(pictures, annotations))
        elif _lie_together(tree, top):
            parts.append(_Part(top, top))
    return parts


def _lie_together(tree: Tree, folder: str) -> bool:
    suffixes = {file.suffix for path, file in tree.files.items() if parent_of(path) == folder}
    return ".xml" in suffixes and not suffixes.isdisjoint(IMAGE_SUFFIXES)


def _find_pictures(xmls: Iterable[_ReadXml], part: _Part, problems: list[Problem]) -> dict[str, list[_ReadXml]]:
    """Return path of a picture -> the XML files that are for it (one, where all is well)."""
    paths = {file.name: path for path, file in part.pictures.items()}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in paths:
        by_stem[PurePosixPath(name).stem].append(name)
    claims: dict[str, list[_ReadXml]] = defaultdict(list)
    for xml in xmls:
        try:
            claims[paths[_find_picture(xml, paths, by_stem, part.pictures_folder)]].append(xml)
        except DatasetError as error:
            problems.append(Problem("annotation", "annotation without its picture", str(error)))
    return claims


def _find_picture(
    xml: _ReadXml, names: Iterable[str], by_stem: Mapping[str, Sequence[str]], pictures_folder: str
) -> str:
    """Find the picture an XML is for: by `<filename>`, else by the XML's own name.

    An unreadable XML still claims the picture of its name, so that the picture is not reported as well.
    """
    where, stem = xml.file.where, stem_of(xml.path)
    filename = xml.annotation.filename if xml.annotation else stem
    same_stem = by_stem.get(stem, [])
    if filename in names:
        if PurePosixPath(filename).stem != stem and same_stem:
            raise DatasetError(
                f"{where}: <filename> is {filename!r}, but {same_stem[0]!r} exists as well; rename the "
                "XML or correct <filename>"
            )
        return filename
    candidates = same_stem or by_stem.get(PurePosixPath(filename).stem, [])
    if len(candidates) > 1:
        raise DatasetError(f"{where}: fits several pictures ({', '.join(candidates)}); name one in <filename>")
    if not candidates:
        place = f"in {pictures_folder}/" if pictures_folder else "beside it"
        raise DatasetError(f"{where}: no picture {filename!r} {place}; add the picture or remove the annotation")
    return candidates[0]


def _without_annotation(picture: SourceFile, annotations_folder: str) -> Problem:
    place = f"to {annotations_folder}/" if annotations_folder else "beside it"
    text = (
        f"{picture.where}: picture without annotation; add {picture.stem}.xml {place} "
        "(without <object> where nothing is on it) or remove the picture"
    )
    return Problem("picture", "picture without annotation", text)
