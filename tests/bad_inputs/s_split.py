"""Catalogue S: what is asked of a split, and the folder that `prepare` fills."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from held_folders import held_elsewhere
from voc_factory import dataset_files, png, tree_digest, voc_xml

from gdino_lightning.cli import INTERRUPTED, main
from gdino_lightning.data import publish
from gdino_lightning.files import write_atomic
from tests.bad_inputs.a_archives import ZIPPED, archive, zipped
from tests.bad_inputs.case import DATASET_PICTURES, PREPARE, Case, Handled, Refused, dataset

DOG = ("dog", (1, 2, 20, 25))
UP_TO_DATE = Handled("^out: already up to date")
FRESH = Path("fresh")


def _prepared() -> None:
    dataset()
    assert main(PREPARE) == 0


def _prepared_from_another_order() -> None:
    """A root prepared from a folder, and an archive of the same files in the opposite order."""
    _prepared()
    files = dataset_files(DATASET_PICTURES)
    archive(zipped({name: files[name] for name in reversed(files)}))()


def _interrupted(after: int) -> Callable[[], None]:
    """A root whose preparation was stopped in the middle of a file, and a whole one."""

    def make() -> None:
        dataset()
        written: list[Path] = []

        def write(path: Path, data: bytes) -> None:
            if len(written) == after:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
                raise KeyboardInterrupt
            written.append(path)
            write_atomic(path, data)

        with patch.object(publish, "write_atomic", write):
            assert main(PREPARE) == INTERRUPTED
        assert main([*PREPARE[:4], str(FRESH), *PREPARE[5:]]) == 0

    return make


def _same_as_fresh() -> None:
    assert tree_digest(Path("out")) == tree_digest(FRESH)


@contextmanager
def _no_space(number: int, folder: str) -> Iterator[None]:
    """Writing below `folder` fails as the system would say it."""
    write_bytes = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if folder in path.parts:
            raise OSError(number, "No space left on device" if number == errno.ENOSPC else "Read-only", str(path))
        return write_bytes(path, data)

    with patch.object(Path, "write_bytes", write):
        yield


def _twins(*pairs: tuple[int, int]) -> None:
    """A dataset in which pictures of these numbers are the same bytes."""
    dataset({f"images/p{second}.png": png(seed=first) for first, second in pairs})


def _changed_source() -> None:
    _prepared()
    dataset({"annotations/p0.xml": voc_xml("p0.png", [DOG])})


def _root_is_a_file() -> None:
    dataset()
    Path("out").write_text("mine")


def _foreign_file() -> None:
    dataset(root="data")
    dataset({"notes.txt": b"mine"}, root="out/train")


_ALL_TWINS = [(0, 1), (0, 2), (0, 3), (0, 4)]
CASES = [
    Case(
        "S01",
        "fewer pictures than train should get",
        dataset,
        Refused(
            "^num_train is 600, but there are 6 pictures and both sides need at least one: set --num_train to .* 1 to 5"
        ),
        ("prepare", "--source", "data", "--root", "out"),
    ),
    *(
        Case("S02", f"--num_train {number}", dataset, Refused(message), (*PREPARE[:-1], number))
        for number, message in (
            ("6", "^num_train is 6, but there are 6 pictures .*: set --num_train to a number from 1 to 5"),
            ("0", "^num_train is 0, but there are 6 pictures .*: set --num_train to a number from 1 to 5"),
            ("-2", "^num_train is -2, but there are 6 pictures .*: set --num_train to a number from 1 to 5"),
            (
                "2.5",
                "^argument --num_train: '2.5' is neither a number of pictures nor a share below 1; `gdino prepare --h",
            ),
            (
                "six",
                "^argument --num_train: 'six' is neither a number of pictures nor a share below 1; `gdino prepare --h",
            ),
        )
    ),
    Case("S03", "another order of the files", _prepared_from_another_order, UP_TO_DATE, ZIPPED),
    Case("S04", "a second run", _prepared, UP_TO_DATE),
    Case(
        "S04",
        "a second run with another seed",
        _prepared,
        Handled(r"^out: \d+ files written or removed"),
        (*PREPARE, "--seed", "1"),
    ),
    *(
        Case(
            "S05",
            f"a run that ended after {after} files",
            _interrupted(after),
            Handled(r"^out: \d+ files written or removed", also=_same_as_fresh),
        )
        for after in (0, 5, 13)
    ),
    Case(
        "S06",
        "a full disk",
        dataset,
        Refused(
            r"^out/\S+/train/images/p\d\.png: no space for [\d,]+ bytes; free space or choose another folder", code=4
        ),
        around=partial(_no_space, errno.ENOSPC, "images"),
    ),
    Case("S07", "a root that is a file", _root_is_a_file, Refused("^out: is a file; choose a folder as --root")),
    Case(
        "S07",
        "a root that cannot be written",
        dataset,
        Refused(r"^out/\S+: cannot be written \(Read-only\); choose another --root"),
        around=partial(_no_space, errno.EROFS, "out"),
    ),
    Case(
        "S07",
        "a root among the files of the source",
        dataset,
        Refused("^data/images/out: lies among the files of the source; choose another --root"),
        ("prepare", "--source", "data", "--root", "data/images/out", "--num_train", "3"),
    ),
    Case(
        "S07",
        "a root that holds somebody's files",
        _foreign_file,
        Refused(r"^out/\S+: not made by prepare \(\d+ such file\(s\)\); move such files away or choose another --root"),
    ),
    Case(
        "S08",
        "the same picture on both sides",
        partial(_twins, *_ALL_TWINS),
        Handled(
            "warning    1 identical group is cut by the split, so train has seen these test pictures: p0.png = p1.png"
            ".*; --split grouped keeps them together"
        ),
    ),
    Case(
        "S08",
        "the same picture on both sides, grouped",
        partial(_twins, (0, 1), (2, 3)),
        Handled(
            r"split      grouped: 2 groups of near-identical pictures kept together\n"
            r"(?!.*cut by the split)",
        ),
        (*PREPARE, "--split", "grouped"),
    ),
    Case(
        "S09",
        "a class without a box on one side",
        partial(dataset, {"annotations/p0.xml": voc_xml("p0.png", [DOG])}),
        Handled("warning    (train|test) has no box of dog"),
    ),
    Case(
        "S10",
        "names that differ in case alone",
        partial(dataset, {"images/P0.png": png()}),
        Refused(r"^data/images: 'P0\.png' and 'p0\.png' differ only in case; rename one"),
    ),
    Case(
        "S11",
        "a second preparation of the folder at once",
        dataset,
        Refused(r"^out: in use by process \d+ on \S+; wait for it, or choose another --root"),
        around=lambda: held_elsewhere(Path("out")),
    ),
    Case(
        "S12",
        "a source that changed since",
        _changed_source,
        Handled("warning    the source has changed since this folder was made; it now holds what the source holds"),
    ),
    Case(
        "S07",
        "a source that is missing",
        lambda: None,
        Refused(r"^data: no such folder or file; check the path"),
    ),
]
