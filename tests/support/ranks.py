"""A function in several processes that find one another: ranks of a group of torch's, or of a Trainer."""

import faulthandler
import os
import pickle
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import distributed, multiprocessing

# settings of a Trainer in each of two ranks, and in one process
TWO = {"strategy": "ddp", "accelerator": "cpu", "devices": 2}
ONE = {"accelerator": "cpu", "devices": 1}


def on_ranks(
    function: Callable[..., Any], *arguments: object, ranks: int = 2, group: bool = False, seconds: float = 180
) -> list[Any]:
    """Call `function(rank, *arguments)` in `ranks` new processes and return what they return, in order of rank.

    Args:
        function: One of a test module; what it takes and returns is pickled.
        arguments: The same for each rank.
        ranks: Processes.
        group: Join them to a gloo group for the call. A Trainer joins them itself.
        seconds: After this, all are ended.

    Raises:
        torch.multiprocessing.ProcessException: One of them failed; it carries the traceback, and all are ended.
        TimeoutError: They were not done in time.
    """
    with TemporaryDirectory() as folder:
        job = (function, arguments, ranks, free_port(), group, folder)
        running = multiprocessing.spawn(_call, args=job, nprocs=ranks, join=False)
        end = time.monotonic() + seconds
        while not running.join(timeout=1):
            if time.monotonic() > end:
                for process in running.processes:
                    process.kill()
                raise TimeoutError(f"{function.__name__} took more than {seconds} s on {ranks} ranks")
        return [pickle.loads((Path(folder) / str(rank)).read_bytes()) for rank in range(ranks)]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _call(rank, function, arguments, ranks, port, group, folder) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }
    faulthandler.enable()  # a crash in native code says where
    torch.set_num_threads(1)
    if group:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    (Path(folder) / str(rank)).write_bytes(pickle.dumps(function(rank, *arguments)))
    if distributed.is_initialized():
        distributed.destroy_process_group()
