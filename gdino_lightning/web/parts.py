"""What the parts of the page share: sliders, and errors as one line."""

import html
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from gdino_lightning.errors import GdinoError
from gdino_lightning.web.session import Thresholds

# for events that run a model: those of one name wait for one another
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
KEEP_S = 3600  # what an open page holds is forgotten after this time without use


def share_slider(label: str, info: str, value: float, name: str) -> gr.Slider:
    """Make a slider from 0 to 1; `name` is its element's id."""
    return gr.Slider(0, 1, value, step=0.01, label=label, info=info, elem_id=name, buttons=[])


def thresholds_of(saved: bool, sliders: tuple[float, ...]) -> Thresholds:
    """Return what is asked for: where the weights' own thresholds are wanted, the sliders do not count."""
    return Thresholds() if saved else Thresholds(*sliders)


def new_file(folder: Path, name: str) -> Path:
    """Return a place for a file that nobody else writes to."""
    return Path(tempfile.mkdtemp(dir=folder)) / name


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a user got wrong as one line in the page, nothing in the terminal."""
    try:
        yield
    except GdinoError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error  # Gradio renders HTML
