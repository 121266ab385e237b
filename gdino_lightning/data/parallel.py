"""Work on many pictures in threads, with a progress bar: decoding and hashing release Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

_CHUNK = 32  # a job of the pool takes more memory than what it returns

T = TypeVar("T")
R = TypeVar("R")


def map_pictures(function: Callable[[T], R], pictures: Sequence[T], title: str, *, progress: bool) -> list[R]:
    """Apply `function` to every picture and return the results in the order of the pictures.

    Args:
        function: What is done to each, in one of at most eight threads.
        pictures: What it gets.
        title: Stands before the bar.
        progress: Show a progress bar on a terminal.
    """
    chunks = [pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK)]
    results: list[R] = []
    with (
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
        tqdm(None, title, len(pictures), unit="picture", leave=False, disable=None if progress else True) as bar,
    ):
        for done in pool.map(lambda chunk: [function(each) for each in chunk], chunks):
            results += done
            bar.update(len(done))
    return results
