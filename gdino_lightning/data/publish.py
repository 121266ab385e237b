"""Makes a prepared folder equal to what it should hold; a stop at any moment leaves nothing wrong visible.

Files are written under another name and renamed. A journal of the files about to be made comes first, tables
and manifest last: a folder without tables is unfinished, and the next run finishes it or replaces it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import DatasetError
from gdino_lightning.files import PART, part_of, refuse_unwritable, write_atomic

MANIFEST = "prepare.json"
JOURNAL = "prepare.unfinished.json"


@dataclass(frozen=True)
class Content:
    """What a file shall hold: the digest of its bytes, and a way to get them when they have to be written."""

    sha256: str
    read: Callable[[], bytes]


def publish(
    root: Path,
    wanted: Mapping[str, Content],
    tables: Mapping[str, bytes],
    parameters: Mapping[str, object],
    *,
    progress: bool,
) -> int:
    """Make folders below `root` hold exactly the wanted files.

    The folders are those that the tables lie in; they belong to this function alone, but for the captions that a
    user may put beside a table: those are neither read nor touched.

    Args:
        root: Folder to fill; made where it is missing.
        wanted: Path below `root`, with "/" -> content of every other file.
        tables: Path below `root` -> bytes of the tables, whose presence says that all other files are there.
        parameters: What the manifest records besides the files.
        progress: Show a progress bar on a terminal.

    Returns:
        How many files were written or removed: 0 where all was there already.

    Raises:
        DatasetError: `root` cannot be written, or its folders hold files that were not made here.
        OSError: The disk is full; the message names the file.
    """
    with refuse_unwritable(root):
        return _Publisher(root, wanted, tables, progress).run(parameters)


def recorded_source(root: Path) -> str | None:
    """Return the digest of the source that a finished folder was made from; None where nothing is recorded."""
    try:
        recorded = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError):  # absent, or damaged: `publish` says so
        return None
    digest = recorded.get("source_sha256") if isinstance(recorded, dict) else None
    return digest if isinstance(digest, str) else None


class _Publisher:
    def __init__(self, root: Path, wanted: Mapping[str, Content], tables: Mapping[str, bytes], progress: bool) -> None:
        self.root = root
        self.tables = tables.keys()
        self.wanted = {**wanted, **{name: _content(data) for name, data in tables.items()}}
        self.folders = sorted({name.split("/")[0] for name in tables})
        self.captions = {f"{folder}/{CAPTIONS_NAME}" for folder in self.folders}
        self.progress = progress

    def run(self, parameters: Mapping[str, object]) -> int:
        manifest = _manifest(self.wanted, parameters)
        present, leftovers = self._list()
        made = self._made_before()
        stale = sorted(present - self.wanted.keys())
        different = {name for name in self.wanted if not self._is_there(name, present)}
        self._refuse_foreign((present & different).union(stale) - made)
        missing = self._order(different, stale)
        manifest_path, journal_path = self.root / MANIFEST, self.root / JOURNAL
        finished = manifest_path.is_file() and manifest_path.read_bytes() == manifest
        if finished and not (missing or stale or leftovers or journal_path.exists()):
            return 0
        write_atomic(journal_path, _to_json({"files": sorted(made | self.wanted.keys())}))
        manifest_path.unlink(missing_ok=True)
        outdated = [name for name in reversed(missing) if name in present]  # tables go first
        for name in [*outdated, *stale, *leftovers]:
            (self.root / name).unlink(missing_ok=True)  # the journal has replaced its own leftover
        self._write_all(missing)
        write_atomic(manifest_path, manifest)
        journal_path.unlink()
        return len(missing) + len(stale) + len(leftovers)

    def _list(self) -> tuple[set[str], list[str]]:
        """Return the files in the folders, captions aside, and what an interrupted run left half-written."""
        present: set[str] = set()
        leftovers: list[str] = []
        for folder in self.folders:
            for path in (self.root / folder).rglob("*"):
                name = path.relative_to(self.root).as_posix()
                if path.is_dir() or name in self.captions:
                    continue
                if not path.name.startswith("."):
                    present.add(name)
                elif path.name.endswith(PART):
                    leftovers.append(name)
        own = [part_of(self.root / name) for name in (MANIFEST, JOURNAL)]
        return present, leftovers + [path.name for path in own if path.exists()]

    def _order(self, different: set[str], stale: list[str]) -> list[str]:
        """List what to write: all tables where anything else changes, since they vouch for the pictures."""
        missing = set(different)
        if stale or different - self.tables:
            missing |= self.tables
        return [name for name in self.wanted if name in missing]

    def _refuse_foreign(self, names: set[str]) -> None:
        if names:
            raise DatasetError(
                f"{self.root / min(names)}: not made by prepare ({len(names)} such file(s)); move such "
                "files away or choose another --root"
            )

    def _made_before(self) -> set[str]:
        made: set[str] = set()
        for path in (self.root / MANIFEST, self.root / JOURNAL):
            if path.is_file():
                made |= _listed_files(path)
        return made

    def _is_there(self, name: str, present: set[str]) -> bool:
        if name not in present:
            return False
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest() == self.wanted[name].sha256

    def _write_all(self, names: list[str]) -> None:
        disable = None if self.progress else True
        for name in tqdm(names, "writing files", unit="file", leave=False, disable=disable):
            data = self.wanted[name].read()
            if hashlib.sha256(data).hexdigest() != self.wanted[name].sha256:
                raise DatasetError(f"{name}: changed in the source while it was read; run prepare again")
            write_atomic(self.root / name, data)


def _content(data: bytes) -> Content:
    return Content(hashlib.sha256(data).hexdigest(), partial(bytes, data))


def _manifest(wanted: Mapping[str, Content], parameters: Mapping[str, object]) -> bytes:
    files = {name: content.sha256 for name, content in wanted.items()}
    return _to_json({"format": 1, **parameters, "files": files})


def _listed_files(path: Path) -> set[str]:
    try:
        listed = json.loads(path.read_bytes())["files"]
        return {str(name) for name in listed}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: damaged, or not made by prepare; choose another --root") from error


def _to_json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
