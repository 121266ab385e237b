"""What an error says of the other processes; tests/several_processes holds what follows from it."""

import pytest
from torch import distributed

from gdino_lightning.cli.peers import is_lost_peer

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] "


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(GLOO + "Connection closed by peer [127.0.0.1]:63690. This is typically caused by a remote worker"),
        RuntimeError(GLOO + "Read error [127.0.0.1]:62615: Connection reset by peer"),
        distributed.DistBackendError("NCCL communicator was aborted on rank 1."),
    ],
    ids=["closed", "reset", "NCCL"],
)
def test_a_broken_connection_is_a_lost_process(error):
    assert is_lost_peer(error)


def test_other_errors_are_their_own():
    assert not is_lost_peer(RuntimeError("Connection closed by peer"))
    assert not is_lost_peer(RuntimeError("CUDA out of memory"))
    assert not is_lost_peer(FloatingPointError("train step 1: not finite"))
