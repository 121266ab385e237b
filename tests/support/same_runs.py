"""Two runs that must be the same to the bit."""

from pathlib import Path

import torch


def assert_same_run(run: Path, whole: Path) -> None:
    """Weights, optimizer, counters of callbacks and every logged number are the same to the bit."""
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert {path.name for path in (run / "checkpoints").iterdir()} == names
    for name in names:
        ours, theirs = (torch.load(each / "checkpoints" / name, weights_only=True) for each in (run, whole))
        for key in theirs.keys() - {"datamodule_hyper_parameters"}:  # the number of workers is among them
            assert_equal(ours[key], theirs[key])


def assert_equal(ours: object, theirs: object) -> None:
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_equal(ours[key], value)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, its in zip(ours, theirs, strict=True):
            assert_equal(mine, its)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs)
