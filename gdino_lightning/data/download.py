"""Datasets that are fetched when they are asked for by name: `kaggle:owner/name`."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from gdino_lightning.errors import ConfigError, DatasetError, reason_of
from gdino_lightning.files import FULL_DISK

KAGGLE = "kaggle:"
_OFFLINE = "HF_HUB_OFFLINE"  # one switch for everything that could touch the network
_TRUE = {"1", "on", "true", "yes"}


class _Known(NamedTuple):
    licence: str
    holds: str
    sha256: str  # over the sorted list of the digests of its files


_KNOWN = {
    "andrewmvd/face-mask-detection": _Known(
        "CC0 1.0",
        "853 pictures and their XML",
        "d76ee8d2597198f9864062a376c88dc8021cfb5e2f0ae8a3db8e09266d4df85c",
    )
}


def is_remote(source: str | Path) -> bool:
    """Tell whether a source is to be fetched."""
    return str(source).startswith(KAGGLE)


def name_of(source: str | Path) -> str:
    """The name of a dataset that is to be fetched, without its owner and version."""
    return "/".join(str(source).removeprefix(KAGGLE).split("/")[1:2])


def fetched(source: str | Path) -> Path:
    """Return the folder or archive that a source means, fetching it where its name asks for that.

    A dataset of Kaggle comes through `kagglehub` into its cache, with the credentials that it finds; a second call
    finds it there.

    Args:
        source: A path, or `kaggle:owner/name`, also with `/versions/1`.

    Raises:
        ConfigError: `kagglehub` is not installed.
        DatasetError: It is no such name, or cannot be fetched; the message tells how to get it by hand.
        OSError: The disk is full.
    """
    if not is_remote(source):
        return Path(source)
    handle = str(source).removeprefix(KAGGLE)
    if not re.fullmatch(r"[\w-]+/[\w-]+(/versions/[0-9]+)?", handle):
        raise DatasetError(
            f"{source}: is no name of a dataset; write {KAGGLE}owner/name as in its address on kaggle.com"
        )
    if os.environ.get(_OFFLINE, "").lower() in _TRUE:
        raise DatasetError(_by_hand(handle, f"{_OFFLINE} is set, so nothing is fetched"))
    kagglehub = _kagglehub()
    failures: tuple[type[Exception], ...] = (OSError, ValueError, *_own_errors(kagglehub))
    try:
        return Path(kagglehub.dataset_download(handle))
    except failures as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise DatasetError(_by_hand(handle, f"cannot be fetched ({_reason(error)})")) from error


def _kagglehub() -> Any:
    try:
        import kagglehub
    except ImportError as error:
        raise ConfigError(f"{KAGGLE} needs kagglehub: pip install 'gdino-lightning[download]'") from error
    return kagglehub


def _own_errors(kagglehub: Any) -> list[type[Exception]]:
    own = vars(kagglehub.exceptions).values()
    return [each for each in own if isinstance(each, type) and issubclass(each, Exception)]


def _reason(error: Exception) -> str:
    from requests import ConnectionError as NoConnection  # kagglehub's own way to the network

    return "Kaggle cannot be reached: is there a network?" if isinstance(error, NoConnection) else reason_of(error)


def _by_hand(handle: str, problem: str) -> str:
    owner_and_name = "/".join(handle.split("/")[:2])
    known = _KNOWN.get(owner_and_name)
    facts = (
        f"; licence {known.licence}, {known.holds}, sha256 over the sorted list of their sha256 {known.sha256}"
        if known
        else "; its licence is named there"
    )
    return (
        f"{KAGGLE}{handle}: {problem}; get it by hand from https://www.kaggle.com/datasets/{owner_and_name} and give "
        f"the archive as --source{facts}"
    )
