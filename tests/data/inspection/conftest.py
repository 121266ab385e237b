from collections.abc import Callable
from pathlib import Path

import pytest
from prepared_factory import Boxes, write_split


@pytest.fixture
def add_split(tmp_path) -> Callable[..., Path]:
    """Writes a split below a root and returns the root."""

    def add(split: str, boxes: Boxes, pictures: dict[str, bytes] | None = None) -> Path:
        write_split(tmp_path / split, boxes, pictures)
        return tmp_path

    return add
