"""Makes a prepared folder equal to what it should hold: at every moment it holds the old state or the new one.

New files are laid into a hidden folder, whose renaming decides: before it the old state stands untouched, after it the
new one is there for everybody, since whoever finds the renamed folder first moves its files to their places.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from gdino_lightning.data.table import CAPTIONS_NAME
from gdino_lightning.errors import DatasetError
from gdino_lightning.files import refuse_unwritable, write_atomic
from gdino_lightning.lock import hold

MANIFEST = "prepare.json"
STAGED = ".prepare.staged"  # what a run is writing, or has no use for any more
READY = ".prepare.ready"  # the same, whole: its files are the new state
STALE = "stale.json"  # in both: names of files that the new state does not have

_WAIT = "wait for it, or choose another --root"


@dataclass(frozen=True, slots=True)
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

    The folders are those that these files lie in, and those of the last time; they belong to this function alone, but
    for captions that a user may put beside a table: those are neither read nor touched.

    Args:
        root: Folder to fill; made where it is missing.
        wanted: Path below `root`, with "/" -> content of pictures and other files of the source.
        tables: Path below `root` -> bytes of what is made here.
        parameters: What the manifest records besides the files.
        progress: Show a progress bar on a terminal.

    Returns:
        How many files were written or removed: 0 where all was there already.

    Raises:
        DatasetError: `root` cannot be written, or its folders hold files that were not made here.
        ConfigError: Another process fills it.
        OSError: The disk is full; the message names the file.
    """
    with refuse_unwritable(root), hold(root, _WAIT):
        return _Publisher(root, wanted, tables, progress).run(parameters)


def recorded_source(root: Path) -> str | None:
    """Return the digest of the source that a folder was made from; None where nothing is recorded."""
    finish_preparation(root)
    try:
        recorded = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError):  # absent, or damaged: `publish` says so
        return None
    digest = recorded.get("source_sha256") if isinstance(recorded, dict) else None
    return digest if isinstance(digest, str) else None


def finish_preparation(root: Path) -> None:
    """Put the files of a run that was stopped after it had decided to their places; whoever reads `root` calls this.

    Raises:
        DatasetError: `root` cannot be written, or the hidden folder is damaged.
    """
    if (root / READY).is_dir():
        with refuse_unwritable(root), hold(root, _WAIT, wait=True):
            _finish(root)


def _finish(root: Path) -> None:
    ready = root / READY
    if not ready.is_dir():
        return
    for name in _stale(ready / STALE):
        (root / name).unlink(missing_ok=True)
    for path in sorted(ready.rglob("*")):
        if path.is_file() and path != ready / STALE:  # the others were moved before a stop
            place = root / path.relative_to(ready)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    ready.rename(root / STAGED)  # done, at once; to remove it takes several steps
    shutil.rmtree(root / STAGED)


def _stale(path: Path) -> list[str]:
    names = _listed_files(path)
    if any(".." in PurePosixPath(name).parts or Path(name).is_absolute() for name in names):
        raise DatasetError(f"{path}: names files outside of its folder; remove {path.parent}")
    return sorted(names)


class _Publisher:
    def __init__(self, root: Path, wanted: Mapping[str, Content], tables: Mapping[str, bytes], progress: bool) -> None:
        self.root = root
        self.wanted = {**wanted, **{name: _content(data) for name, data in tables.items()}}
        self.progress = progress

    def run(self, parameters: Mapping[str, object]) -> int:
        _finish(self.root)
        shutil.rmtree(self.root / STAGED, ignore_errors=True)  # of a killed run
        manifest = _manifest(self.wanted, parameters)
        made = self._made_before()
        present = self._list(self.wanted.keys() | made)
        stale = sorted(present - self.wanted.keys())
        different = [name for name in self.wanted if not self._is_there(name, present)]
        self._refuse_foreign(present.intersection(different).union(stale) - made)
        path = self.root / MANIFEST
        if different or stale or not path.is_file() or path.read_bytes() != manifest:
            self._stage(different, stale, manifest)
            _finish(self.root)
        return len(different) + len(stale)

    def _list(self, own: set[str]) -> set[str]:
        """Return which of the own files are there, and what else is in their folders but for hidden files."""
        folders = {name.split("/")[0] for name in own if "/" in name}
        paths = (path for folder in folders for path in (self.root / folder).rglob("[!.]*") if not path.is_dir())
        found = {path.relative_to(self.root).as_posix() for path in paths}
        users = {f"{folder}/{CAPTIONS_NAME}" for folder in folders} - own
        return (found - users) | {name for name in own if "/" not in name and (self.root / name).exists()}

    def _refuse_foreign(self, names: set[str]) -> None:
        if names:
            raise DatasetError(
                f"{self.root / min(names)}: not made by prepare ({len(names)} such file(s)); move such "
                "files away or choose another --root"
            )

    def _made_before(self) -> set[str]:
        path = self.root / MANIFEST
        return _listed_files(path) if path.is_file() else set()

    def _is_there(self, name: str, present: set[str]) -> bool:
        if name not in present:
            return False
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest() == self.wanted[name].sha256

    def _stage(self, names: Sequence[str], stale: Sequence[str], manifest: bytes) -> None:
        """Lay new files, manifest and the list of stale files ready; what an error interrupts leaves nothing."""
        staged = self.root / STAGED
        try:
            disable = None if self.progress else True
            for name in tqdm(names, "writing files", unit="file", leave=False, disable=disable):
                write_atomic(staged / name, self._read(name))
            write_atomic(staged / MANIFEST, manifest)
            write_atomic(staged / STALE, _to_json({"files": stale}), sync=True)
            staged.rename(self.root / READY)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def _read(self, name: str) -> bytes:
        data = self.wanted[name].read()
        if hashlib.sha256(data).hexdigest() != self.wanted[name].sha256:
            raise DatasetError(f"{name}: changed in the source while it was read; run prepare again")
        return data


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
