"""The same seed gives the same bytes, whatever the machine lists first, hashes to, speaks or has of processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from same_runs import assert_same_run
from verb_runs import fit_arguments
from voc_factory import png, tree_digest, voc_xml, write_files

pytestmark = pytest.mark.slow  # every run is a process of its own

PLAIN = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "1"}
FORWARDS = ("-m", "gdino_lightning")
BACKWARDS = (str(Path(__file__).parents[1] / "support" / "backwards.py"),)
OTHERWISE = {
    "hash seed 1": (FORWARDS, {"PYTHONHASHSEED": "1"}),
    "hash seed 4294967295": (FORWARDS, {"PYTHONHASHSEED": "4294967295"}),
    "locale": (FORWARDS, {"LC_ALL": "C"}),
    "language": (FORWARDS, {"LC_ALL": "", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr"}),
    "time zone": (FORWARDS, {"TZ": "Pacific/Kiritimati"}),
    "order of files": (BACKWARDS, {}),
}
SPLITS = ("random", "grouped", "stratified")
# names that locales sort in different ways, and numbers that some sort by value
NAMES = ("a", "B", "Ä", "ß", "z", "İ", "i", "10", "9", "straße", "strand")


def program(door: tuple[str, ...], home: Path, verb: list[str], env: dict[str, str]) -> str:
    """What a verb prints."""
    command = [sys.executable, *door, *verb]
    done = subprocess.run(
        command, cwd=home, env={**os.environ, **PLAIN, **env}, capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    files = {}
    for seed, name in enumerate(NAMES):
        files[f"images/{name}.png"] = png(seed=seed % 9)  # two are pictures of before
        files[f"annotations/{name}.xml"] = voc_xml(f"{name}.png", [("Straße", (1, 2, 20, 25)), ("İz", (3, 3, 9, 9))])
    return write_files(tmp_path_factory.mktemp("names") / "source", files)


def prepared_and_drawn(door: tuple[str, ...], home: Path, source: Path, env: dict[str, str]) -> tuple[str, ...]:
    """What `prepare`, three ways to split, and `sample` print."""
    verbs = [
        *(["prepare", f"--source={source}", f"--root={how}", "--num_train=6", f"--split={how}"] for how in SPLITS),
        ["sample", "--root=masks", "--num_images=4"],
        ["sample", "--root=world", "--num_images=4", "--subject=world"],
    ]
    return tuple(program(door, home, verb, env) for verb in verbs)


@pytest.fixture(scope="module")
def plainly(source, tmp_path_factory) -> tuple[tuple[str, ...], dict[str, str]]:
    home = tmp_path_factory.mktemp("plainly")
    return prepared_and_drawn(FORWARDS, home, source, {}), tree_digest(home)


@pytest.mark.parametrize("what", OTHERWISE)
def test_prepare_and_sample_write_the_same_bytes(source, plainly, tmp_path, what):
    door, env = OTHERWISE[what]
    printed = prepared_and_drawn(door, tmp_path, source, env)
    assert (printed, tree_digest(tmp_path)) == plainly


def test_training_is_the_same_to_the_bit_when_all_of_it_is_otherwise(drawn, tmp_path):
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.mkdir()
    other.mkdir()
    program(FORWARDS, plain, [*fit_arguments(drawn), "--data.num_workers=0"], {})
    everything = {key: value for _, env in OTHERWISE.values() for key, value in env.items()}
    program(BACKWARDS, other, [*fit_arguments(drawn), "--data.num_workers=2"], everything)
    assert_same_run(other / "runs" / "sample", plain / "runs" / "sample")
