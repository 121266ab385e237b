"""Properties that must hold for many drawn inputs: some hundred of each with every run, thousands in the slow set.

`GDINO_FUZZ_EXAMPLES=10000 pytest tests/fuzz -m slow --timeout=0` runs the slow set: as many new examples of each.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdino_lightning.errors import MOST_SHOWN, DatasetError, GdinoError

T = TypeVar("T")
FEW = 300
MANY = int(os.environ.get("GDINO_FUZZ_EXAMPLES", "0"))
_LONGEST_MESSAGE = 2_000


def fuzz(
    *strategies: st.SearchStrategy[object], few: int = FEW
) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Make a test of a property with `few` examples, always the same; with MANY also one, marked slow, of new ones.

    Args:
        strategies: What the arguments are drawn from.
        few: Fewer where one example takes long.
    """
    counts = [pytest.param(few, id="few")] + [pytest.param(MANY, id="many", marks=pytest.mark.slow)] * bool(MANY)

    def decorate(holds: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("examples", counts)
        def test(examples: int) -> None:
            always_the_same = settings(
                max_examples=examples,
                derandomize=examples == few,
                database=None,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            )
            always_the_same(given(*strategies)(holds))()

        test.__name__, test.__doc__ = holds.__name__, holds.__doc__
        return test

    return decorate


def answer(ask: Callable[[], T], error: type[GdinoError], names: str = "") -> T | None:
    """Return what is answered, or None where the input is refused: by this error alone, in one line.

    Args:
        ask: Reads a drawn input.
        error: The one way to refuse it.
        names: What the message must name.
    """
    try:
        return ask()
    except error as refusal:
        check_message(refusal, names)
        return None


def check_message(refusal: GdinoError, names: str = "") -> None:
    """A message is a line for each problem that can be printed, names what it is about and is not the input itself."""
    messages = refusal.problems if isinstance(refusal, DatasetError) else (str(refusal),)
    for message in messages:
        assert names in message, message[:300]
        assert len(message.splitlines()) == 1, message[:300]
        assert len(message) <= _LONGEST_MESSAGE, message[:300]
        message.encode()
    if len(messages) > 1:
        assert len(str(refusal).splitlines()) <= MOST_SHOWN + 2  # a heading, and how many more there are


_FOLDER = tempfile.TemporaryDirectory(prefix="gdino-fuzz-")


def file_of(data: bytes, name: str) -> Path:
    """Write drawn bytes to the one file of this name that all examples share, with no other file beside it."""
    path = Path(_FOLDER.name) / name / "given" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()  # what still maps the last one keeps it
    path.write_bytes(data)
    return path


@st.composite
def mutated(
    draw: st.DrawFn, valid: st.SearchStrategy[bytes] | bytes, tokens: tuple[bytes, ...] = (b"\0", b"\xff", b"\n")
) -> bytes:
    """Valid bytes after some slips: parts removed, doubled, swapped, cut off, overwritten, tokens put in.

    Args:
        draw: Hypothesis' own.
        valid: What is damaged.
        tokens: What the format might trip over.
    """
    data = draw(valid) if isinstance(valid, st.SearchStrategy) else valid
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        part, rest = data[start : start + length], data[start + length :]
        put = draw(st.one_of(st.binary(max_size=8), st.sampled_from(tokens)))
        match draw(st.sampled_from(("remove", "double", "swap", "cut", "put", "overwrite"))):
            case "remove":
                data = data[:start] + rest
            case "double":
                data = data[:start] + part * draw(st.sampled_from((2, 3, 100))) + rest
            case "swap":
                other = draw(st.integers(0, len(rest)))
                data = data[:start] + rest[:other] + part + rest[other:]
            case "cut":
                data = data[:start]
            case "put":
                data = data[:start] + put + data[start:]
            case "overwrite":
                data = data[:start] + put + data[start + len(put) :]
    return data
