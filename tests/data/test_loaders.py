import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from gdino_lightning.data.canvas import Sizing
from gdino_lightning.data.loaders import CanvasLoaders
from gdino_lightning.errors import ConfigError

loaders = partial(CanvasLoaders, Sizing(64, 64, 32), (), batch_size=1, eval_batch_size=1, pin_memory=False, seed=0)
LONGEST = 75
# what torch's loader does to hand a tensor over
SOCKET = "from multiprocessing.resource_sharer import DupFd; DupFd(0)"


def folder_of(length: int, above: Path) -> Path:
    folder = above / ("x" * (length - len(str(above)) - 1))
    folder.mkdir()
    return folder


@pytest.fixture
def short():
    """A temporary folder of a short name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_worker_processes_are_refused_where_their_sockets_do_not_fit_below_the_temporary_folder(
    monkeypatch, short, length
):
    folder = folder_of(length, short)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    fits = subprocess.run([sys.executable, "-c", SOCKET], env={"TMPDIR": str(folder)}, capture_output=True, text=True)
    assert (fits.returncode == 0) == (length <= LONGEST), fits.stderr
    loaders(num_workers=0)
    if length > LONGEST:
        with pytest.raises(ConfigError, match=r"x: too long a name of a temporary folder .*; set TMPDIR to another"):
            loaders(num_workers=1)
    else:
        loaders(num_workers=1)
