"""Pictures with `metadata.jsonl`, the Hugging Face hub's `imagefolder`: a line has `file_name` and `objects`."""

from gdino_lightning.data.annotation import Annotation
from gdino_lightning.data.formats.hub_objects import OBJECTS, objects_of
from gdino_lightning.data.formats.listed import ListedSource
from gdino_lightning.data.json_values import load_line, mapping_of, text_of
from gdino_lightning.data.source import parent_of
from gdino_lightning.data.tree import SourceFile, Tree

_METADATA = "metadata.jsonl"
_MOST_BYTES = 10_000_000  # of a line


class ImageFolderSource(ListedSource):
    """A dataset of `metadata.jsonl` files; those in a folder named after a split tell the splits."""

    format = "imagefolder"
    layout = "Hugging Face imagefolder (metadata.jsonl with file_name and objects, and the pictures that it names)"

    @staticmethod
    def recognise(tree: Tree) -> bool:
        """Whether a metadata file has objects."""
        return bool(ImageFolderSource._files(tree))

    @staticmethod
    def _files(tree: Tree) -> dict[str, SourceFile]:
        return {
            path: file
            for path, file in tree.with_suffix(".jsonl").items()
            if file.name == _METADATA and parent_of(path).count("/") < 2 and _has_objects(tree.read(file))
        }

    def _read_file(self, path: str, file: SourceFile) -> None:
        for number, line in enumerate(self._read_annotation(file).split(b"\n"), start=1):
            if not line.strip():
                continue
            where = f"{file.where}:{number}"
            try:
                row = mapping_of(load_line(line, _MOST_BYTES), "the line")
                named = text_of(row.get("file_name"), "file_name")
                objects, left_out = objects_of(row, (), number)
            except ValueError as error:
                self._refuse("annotation", "unreadable annotation", f"{where}: {error}")
                continue
            for problem in left_out:
                self._refuse("box", "unreadable object", f"{where}: {problem}")
            self._claim(named, path, Annotation(file, objects, number, incomplete=bool(left_out)))


def _has_objects(data: bytes) -> bool:
    first = data.lstrip().partition(b"\n")[0]
    return any(f'"{key}"'.encode() in first for key in OBJECTS)
