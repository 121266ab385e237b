"""Code that leaves a file behind where it is run: no input may ever make it."""

import io
import pickle
from pathlib import Path

import numpy as np
import torch

CANARY = "canary-was-run"
MODULE = "canary_module"


class Hostile:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(CANARY),)


def hostile_zip() -> bytes:
    """A checkpoint as torch writes it, with more in it than values."""
    file = io.BytesIO()
    torch.save({"state_dict": {}, "gdino": {}, "x": Hostile()}, file)
    return file.getvalue()


def hostile_records() -> bytes:
    """Arrays of objects, which numpy reads by unpickling where it is allowed to."""
    file = io.BytesIO()
    np.savez(file, class_names=np.array([Hostile()], object))
    return file.getvalue()


PICKLES = {
    "bare": pickle.dumps(Hostile(), 2),
    "protocol 5": pickle.dumps(Hostile(), 5),
    "archive": hostile_zip(),
    "records": hostile_records(),
}


def was_run() -> bool:
    """Whether the file is anywhere below the current folder: who parses a configuration may stand beside it."""
    return any(Path().rglob(CANARY))


def write_module(folder: Path) -> None:
    """A module that leaves the file when it is imported, with what a configuration might name."""
    text = f"""
from pathlib import Path
from lightning.pytorch import Callback
Path({str(folder.absolute() / CANARY)!r}).touch()
class Evil(Callback): pass
class Config: pass
def call(*_, **__): pass
"""
    (folder / f"{MODULE}.py").write_text(text)
