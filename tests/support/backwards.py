"""The program where folders list what is in them from the last name to the first."""

import os
import sys
from collections.abc import Callable
from typing import Any


class _Listing(list[Any]):
    """What `os.scandir` returns, in an order of its own."""

    def __enter__(self) -> "_Listing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def __iter__(self):
        self._rest = super().__iter__()
        return self

    def __next__(self):
        return next(self._rest)


def _backwards(listed: Callable[..., Any], name: Callable[[Any], str]) -> Callable[..., _Listing]:
    return lambda path=".": _Listing(sorted(listed(path), key=name, reverse=True))


if __name__ == "__main__":
    os.listdir = _backwards(os.listdir, str)
    os.scandir = _backwards(os.scandir, lambda entry: entry.name)
    from gdino_lightning.cli import main

    sys.exit(main(sys.argv[1:]))
