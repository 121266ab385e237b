"""The Hugging Face hub and its cache: what is here, and whether the hub answers."""

import urllib.error
import urllib.request
from pathlib import Path

from huggingface_hub import constants, snapshot_download

from gdino_lightning.errors import CheckpointError, reason_of

HUB_TIMEOUT_S = 5


def refuse_url(text: str) -> None:
    """Refuse an address where a file is expected: what comes from the network is looked at before it is read.

    Raises:
        CheckpointError: It is one.
    """
    if "://" in text:
        raise CheckpointError(f"{text}: is not read from the network; download the file and give its path")


def cached_folder(name: str) -> Path | None:
    """Return the folder that a repository was downloaded to, or None; the network is not asked."""
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):
        return None


def download(name: str) -> Path:
    """Bring the weights and words of a repository into the cache.

    Raises:
        CheckpointError: If there is no such repository, or it does not arrive.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: cannot be downloaded ({reason_of(error)})") from None


def unreachable() -> str | None:
    """Return why the hub does not answer within some seconds; None if it does, whatever it says."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error) or type(error).__name__
    return None
