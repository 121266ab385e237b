"""How long the parts of a step take, each without the parts within it."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Adds up seconds by part.

    Attributes:
        seconds: By part; what is within another part counts for the inner one alone.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []  # seconds of the parts within each part that is open

    def clear(self) -> None:
        """Begin again."""
        self.seconds.clear()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time every call of a method of one object, or of a class."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **settings: Any) -> Any:
            with self.part(part):
                return method(*args, **settings)

        setattr(owner, name, timed)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = _now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = _now() - start
            self.seconds[name] += whole - self._inner.pop()
            if self._inner:
                self._inner[-1] += whole


def _now() -> float:
    torch = sys.modules.get("torch")  # what is timed may do without, and without its memory
    if torch and torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
