"""What the choice of `gdino train` looks at: the tables of a dataset, the wordings that are asked for, the machine."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from gdino_lightning.cli.given_phrases import given_phrases
from gdino_lightning.cli.plan import Facts
from gdino_lightning.data.identity import identity_of
from gdino_lightning.data.pictures import read_split
from gdino_lightning.data.source import TEST, TRAIN, VAL
from gdino_lightning.data.table import TABLE_NAME
from gdino_lightning.errors import DatasetError, PromptError, listed
from gdino_lightning.prompt.phrases import name_to_phrase

if TYPE_CHECKING:
    from gdino_lightning.inference.words import Phrases


class _Gpu(TypedDict):
    gpu_gb: float
    bf16: bool


def facts_of(root: Path, *, weights: str, phrases: str | None, epochs: int | None, seed: int) -> Facts:
    """Look at a prepared folder and at the machine; the folder of the run is not known yet.

    Args:
        root: Prepared folder.
        weights: Where training starts.
        phrases: As `--phrases` gives them; None takes the names of the classes.
        epochs: What the user asked for, if anything.
        seed: Of the run.

    Raises:
        DatasetError: A table cannot be read, or no table has a box.
        ConfigError: The file of the phrases cannot be read.
        PromptError: A class has no wording, or a wording no class.
    """
    pictures = read_split(root / TRAIN)
    has_val = (root / VAL / TABLE_NAME).is_file()
    others = [each for split in ((VAL, TEST) if has_val else (TEST,)) for each in read_split(root / split)]
    labels = sorted({label for each in [*pictures, *others] for label in each.labels})
    if not labels:
        raise DatasetError(
            f"{root}: no box with a class, which the choice of an epoch goes by; for captions alone see "
            "configs/recipes/refcoco.yaml"
        )
    return Facts(
        root=str(root),
        data=identity_of([*pictures, *others], [])["sha256"],
        run="",
        weights=weights,
        phrases=_wordings(labels, given_phrases(phrases)),
        pictures=len(pictures),
        has_val=has_val,
        pixels=sum(each.width * each.height for each in pictures),
        **_gpu(),
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        cores=len(os.sched_getaffinity(0)),
        epochs=epochs,
        seed=seed,
    )


def _wordings(labels: Sequence[str], given: "Phrases | None") -> dict[str, str]:
    """Class name -> wording, for every class of the dataset."""
    if given is None:
        return {label: name_to_phrase(label) for label in labels}
    from gdino_lightning.inference.words import read_phrases

    wordings = read_phrases(given)
    if not isinstance(given, Mapping):  # wordings alone: each is a class's name in words
        by_phrase = {name_to_phrase(label).lower(): label for label in labels}
        wordings = {by_phrase.get(wording.lower(), wording): wording for wording in wordings}
    if set(wordings) != set(labels):
        missing, unknown = set(labels) - set(wordings), set(wordings) - set(labels)
        parts = [f"no wording for {listed(sorted(missing))}"] if missing else []
        parts += [f"no class {listed(sorted(unknown))}"] if unknown else []
        raise PromptError(
            f"--phrases: {'; '.join(parts)}; give a YAML file with a line `class: wording` for each class"
        )
    return wordings


def _gpu() -> _Gpu:
    import torch

    if not torch.cuda.is_available():
        return {"gpu_gb": 0.0, "bf16": False}
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return {"gpu_gb": memory_gb, "bf16": torch.cuda.is_bf16_supported(including_emulation=False)}
