"""Work on many pictures in threads, with a progress bar: decoding and hashing release Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

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
    disable = None if progress else True
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        jobs = pool.map(function, pictures)
        return list(tqdm(jobs, title, len(pictures), unit="picture", leave=False, disable=disable))
