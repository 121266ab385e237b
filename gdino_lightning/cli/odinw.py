"""`gdino test --protocol odinw`: every dataset of a folder tested in turn, and the average."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from gdino_lightning.data.source import TEST
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.errors import ConfigError, DatasetError
from gdino_lightning.evaluation.protocols.odinw import averages

ODINW = "odinw"
DATASET = "{}"  # in the arguments: the name of the dataset

Test = Callable[[Sequence[str]], Mapping[str, float | Tensor]]


def asks_for_odinw(arguments: Sequence[str]) -> bool:
    """Whether `test` is to go through the datasets of a folder."""
    return bool(_given(arguments)[0].protocol == ODINW)


def test_datasets(arguments: Sequence[str], test: Test) -> str:
    """Test each dataset and return the table of their AP.

    Args:
        arguments: Of `test`; `--data.root` is the folder of prepared folders, and `{}` stands for the name of each.
        test: Runs a test and returns its scores.

    Raises:
        ConfigError: No folder is named.
        DatasetError: It holds no prepared dataset.
    """
    given, rest = _given(arguments)
    if given.root is None:
        raise ConfigError("--protocol odinw needs --data.root: a folder that holds a prepared folder for each dataset")
    datasets = sorted(path.parents[1] for path in Path(given.root).glob(f"*/{TEST}/{TABLE_NAME}"))
    if not datasets:
        raise DatasetError(
            f"{given.root}: holds no prepared dataset; `gdino prepare --source ... --root {given.root}/NAME` for each"
        )
    scores = {}
    for number, dataset in enumerate(datasets, 1):
        print(f"\n{number} of {len(datasets)}: {dataset}", flush=True)
        own = [each.replace(DATASET, dataset.name) for each in (*rest, "--run", given.run)]
        scores[dataset.name] = float(test([*own, "--data.root", str(dataset)])["test/map"])
    return _table(scores)


def _given(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--protocol")
    parser.add_argument("--data.root", dest="root")
    parser.add_argument("--run", default=f"runs/{ODINW}/{DATASET}")
    return parser.parse_known_args([*arguments])


def _table(scores: Mapping[str, float]) -> str:
    rows = [f"| {name} | {100 * ap:.1f} |" for name, ap in scores.items()]
    means = [f"| **{name}, average** | {100 * ap:.1f} |" for name, ap in averages(scores).items()]
    return "\n".join(["| dataset | AP |", "|---|---|", *rows, *means])
