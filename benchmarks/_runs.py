"""Trainings whose results stay on the disk, so that short stretches of time add up to one table."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from gdino_lightning.errors import ConfigError
from gdino_lightning.files import write_atomic

LAST_LINES = 20  # of a failed run's log
LOG_NAME = "log.txt"
RESULT_NAME = "result.json"
SETTINGS_NAME = "settings.json"

Scores = dict[str, float]
Kind = TypeVar("Kind")


class RunError(Exception):
    """A training or a test ended with an error; the text ends with the last lines of its log.

    Args:
        message: What failed.
        code: Exit code of the process.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Settings:
    """What all fine-tunings of one table have in common.

    Attributes:
        weights: Where training starts; `nano-random` is drawn anew for each seed.
        num_images: Pictures of the drawn dataset; half of them train, a quarter each validates and tests.
        short_side: px that neither side of a picture exceeds.
        epochs: Passes over the training pictures.
    """

    weights: str
    num_images: int
    short_side: int
    epochs: int


@dataclass(frozen=True)
class Variant:
    """One row of the table: the model with one key changed.

    Attributes:
        name: Name of the row.
        key: The key below `--model.`; None for the baseline, which changes nothing.
        value: Its value; None turns the default of a switch around.
    """

    name: str
    key: str | None = None
    value: object = None

    @property
    def folder(self) -> str:
        """Name of the folder of its runs."""
        return self.name.replace(" ", "-")

    def keys(self, defaults: Mapping[str, object]) -> dict[str, object]:
        """Return what is changed, key -> value.

        Args:
            defaults: Value of every key that can be changed.

        Raises:
            ConfigError: There is no such key, or the value is its default.
        """
        if self.key is None:
            return {}
        if self.key not in defaults:
            raise ConfigError(f"{self.name}: there is no key {self.key} to change")
        value = not defaults[self.key] if self.value is None else self.value
        if value == defaults[self.key]:
            raise ConfigError(f"{self.name}: {self.key} is {value} by default, so this variant changes nothing")
        return {self.key: value}


@dataclass(frozen=True)
class Result:
    """What one run gave.

    Attributes:
        model: The model's keys and values that the run had, except for its weights.
        scores: Metric -> value, of the last epoch.
        by_token_score: The same for the checkpoint scored with each `token_score`; empty where that was not measured.
        seconds: Time the training took.
    """

    model: dict[str, object]
    scores: Scores
    by_token_score: dict[str, Scores]
    seconds: float


Results = dict[str, dict[int, Result]]  # by name of the variant and seed
Measure = Callable[[Variant, int, Path], Result]  # of a variant and a seed, in a folder that may hold a broken-off run


def run_missing(
    variants: Sequence[Variant], seeds: Sequence[int], runs: Path, measure: Measure
) -> Iterator[tuple[Variant, int, Result]]:
    """Measure what has no result yet; a result is filed when its run is complete.

    Args:
        variants: Rows of the table.
        seeds: Seeds of every row.
        runs: Folder of all runs.
        measure: Trains and scores one run.
    """
    for variant, seed in missing(variants, seeds, runs):
        folder = _folder(runs, variant, seed)
        result = measure(variant, seed, folder)
        write_atomic(folder / RESULT_NAME, _json(asdict(result)))
        yield variant, seed, result


def missing(variants: Sequence[Variant], seeds: Sequence[int], runs: Path) -> list[tuple[Variant, int]]:
    """Return what has no result yet, seed by seed, so that whole seeds can be compared early."""
    pairs = [(variant, seed) for seed, variant in product(seeds, variants)]
    return [pair for pair in pairs if not (_folder(runs, *pair) / RESULT_NAME).is_file()]


def read_results(variants: Sequence[Variant], seeds: Sequence[int], runs: Path) -> Results:
    """Read the finished runs among those asked for; the first variant is the baseline.

    Raises:
        ConfigError: A run differs from the baseline of its seed in another key than its own: defaults of the model
            changed between the two.
    """
    paths = {(v.name, seed): _folder(runs, v, seed) / RESULT_NAME for v, seed in product(variants, seeds)}
    results: Results = {variant.name: {} for variant in variants}
    for (name, seed), path in paths.items():
        if path.is_file():
            results[name][seed] = Result(**json.loads(path.read_text(encoding="utf-8")))
    for variant, seed in product(variants[1:], seeds):
        baseline, run = results[variants[0].name].get(seed), results[variant.name].get(seed)
        if baseline and run and (found := _differing(baseline, run)) != {variant.key}:
            raise ConfigError(
                f"{paths[variant.name, seed].parent}: differs from `{variants[0].name}` in "
                f"{', '.join(sorted(found)) or 'nothing'} instead of {variant.key}: the model's defaults changed "
                "between the two runs; delete the older one's folder and run again"
            )
    return results


def claim(runs: Path, settings: object) -> None:
    """Note the settings in a new folder of runs.

    Args:
        runs: Folder of all runs.
        settings: A dataclass of plain values: what all its runs have in common.

    Raises:
        ConfigError: The folder holds runs of other settings, which cannot be compared with these.
    """
    path = runs / SETTINGS_NAME
    if not path.exists():
        write_atomic(path, _json(vars(settings)))
    elif (found := read_settings(runs, type(settings))) != settings:
        raise ConfigError(f"{runs}: holds runs with {found}, asked for are {settings}; choose another --runs")


def read_settings(runs: Path, kind: type[Kind]) -> Kind:
    """Read what the runs of a folder have in common.

    Args:
        runs: Folder of all runs.
        kind: The dataclass of its settings.

    Raises:
        ConfigError: The folder holds no runs, or runs of another measurement.
    """
    path = runs / SETTINGS_NAME
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, so nothing was run with --runs {runs} yet")
    found = json.loads(path.read_text(encoding="utf-8"))
    try:
        return kind(**found)
    except TypeError:  # other names
        raise ConfigError(f"{runs}: holds runs of another measurement, with {found}; choose another --runs") from None


def gdino(verb: str, arguments: Mapping[str, object], folder: Path, *switches: str) -> None:
    """Run one verb of the program in a process of its own; what it prints is added to the folder's log.

    Args:
        verb: `fit`, `validate`, `test` or `select`.
        arguments: Key -> value, without the leading dashes.
        folder: Folder of the run.
        *switches: Flags without a value, as typed.

    Raises:
        RunError: It failed.
    """
    command = [sys.executable, "-m", "gdino_lightning", verb, *flags(arguments), *switches]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_NAME
    with log.open("a", encoding="utf-8") as file:
        print("$", *command, file=file, flush=True)
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT).returncode
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        raise RunError("\n".join([f"{verb} ended with exit code {code}; the end of {log}:", *tail]), code)


def flags(arguments: Mapping[str, object]) -> list[str]:
    """Write key -> value as the command line has it."""
    return [
        f"--{key}={value if isinstance(value, str | Path) else json.dumps(value)}" for key, value in arguments.items()
    ]


def _folder(runs: Path, variant: Variant, seed: int) -> Path:
    return runs / variant.folder / f"seed-{seed}"


def _differing(baseline: Result, run: Result) -> set[str]:
    """Names of the keys that both runs had, with different values."""
    return {key for key in baseline.model.keys() & run.model.keys() if baseline.model[key] != run.model[key]}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
