"""What `kaggle:owner/name` comes to, with and without a network."""

import errno
import sys

import kagglehub
import pytest
from kagglehub.exceptions import KaggleApiHTTPError, UnauthenticatedError
from requests import ConnectionError as NoConnection
from voc_factory import dataset_files, write_files

from gdino_lightning.cli import main
from gdino_lightning.data.download import fetched
from gdino_lightning.errors import ConfigError, DatasetError

MASKS = "kaggle:andrewmvd/face-mask-detection"


@pytest.fixture
def asked(monkeypatch):
    """What Kaggle was asked for, in order; it answers with `asked.answer`."""

    class Asked(list):
        answer: object = None

    asked = Asked()

    def download(handle):
        asked.append(handle)
        if isinstance(asked.answer, Exception):
            raise asked.answer
        return str(asked.answer)

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return asked


def refused(source) -> str:
    with pytest.raises(DatasetError) as raised:
        fetched(source)
    return str(raised.value)


def test_a_path_is_what_it_says(asked, tmp_path):
    assert fetched(tmp_path) == fetched(str(tmp_path)) == tmp_path
    assert asked == []


@pytest.mark.parametrize("handle", ["andrewmvd/face-mask-detection", "a_b/c-1/versions/3"])
def test_a_name_is_fetched(asked, tmp_path, handle):
    asked.answer = tmp_path
    assert fetched(f"kaggle:{handle}") == tmp_path
    assert asked == [handle]


@pytest.mark.parametrize("name", ["", "masks", "a/b/c", "a/b/versions/x", "a/../b", "https://kaggle.com/a/b", "a/b?c"])
def test_other_names_are_refused_unasked(asked, name):
    assert "write kaggle:owner/name" in refused(f"kaggle:{name}")
    assert asked == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoConnection("HTTPSConnectionPool(host='api.kaggle.com', port=443)"), "is there a network?"),
        (KaggleApiHTTPError("403 Client Error."), "403 Client Error."),
        (UnauthenticatedError(), "User is not authenticated"),
        (OSError(errno.EACCES, "Permission denied", "/cache"), "Permission denied"),
    ],
)
def test_what_fails_says_why_and_how_to_get_it_by_hand(asked, error, said):
    asked.answer = error
    text = refused(MASKS)
    assert said in text
    assert "https://www.kaggle.com/datasets/andrewmvd/face-mask-detection" in text
    assert "CC0 1.0, 853 pictures" in text
    assert "d76ee8d2597198f9864062a376c88dc8021cfb5e2f0ae8a3db8e09266d4df85c" in text
    assert "its licence is named there" in refused("kaggle:someone/else/versions/2")


def test_a_full_disk_is_that(asked):
    asked.answer = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        fetched(MASKS)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_nothing_is_fetched_where_that_is_switched_off(asked, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert "HF_HUB_OFFLINE is set" in refused(MASKS)
    assert asked == []


def test_without_kagglehub_it_names_the_extra(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ConfigError, match=r"pip install 'gdino-lightning\[download\]'"):
        fetched(MASKS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "--source", MASKS, "--root", "data/face-mask-detection", "--num_train", "4"],
        ["train", MASKS, "--weights", "nano", "--plan_only"],
        ["train", f"{MASKS}/versions/1", "--weights", "nano", "--plan_only"],
    ],
    ids=["prepare", "train", "version"],
)
def test_a_fetched_dataset_is_prepared(asked, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    asked.answer = write_files(tmp_path / "cache", dataset_files(6))
    assert main(arguments) == 0
    assert (tmp_path / "data" / "face-mask-detection" / "train" / "annotations.csv").is_file()
    assert [each.removesuffix("/versions/1") for each in asked] == ["andrewmvd/face-mask-detection"]
