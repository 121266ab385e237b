"""Sliders and the weights' own thresholds: which of them count."""

import json

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from stand_ins import FakePredictor

from gdino_lightning.errors import PromptError
from gdino_lightning.web.page import _detect, _redraw
from gdino_lightning.web.parts import errors_shown

SLIDERS = (0.5, 0.2, 0.6)


@pytest.fixture
def upload(tmp_path) -> dict[str, str]:
    path = tmp_path / "picture.png"
    Image.fromarray(np.zeros((90, 100, 3), np.uint8)).save(path)
    return {"path": str(path)}


def test_the_weights_own_thresholds_count_while_they_are_ticked(upload, tmp_path):
    predictor = FakePredictor()
    kept, names, *_ = _detect(predictor, tmp_path, upload, "cat . dog", True, *SLIDERS)
    _redraw(kept, False, *SLIDERS)
    _redraw(kept, True, *SLIDERS)
    own = (None, None, None)
    assert kept.looked.answers.asked == [own, SLIDERS, own]
    assert len(predictor.looks) == 1
    assert names["value"] == names["choices"] == ["cat", "dog"]


def test_the_file_to_download_follows_the_sliders(upload, tmp_path):
    kept, *_ = _detect(FakePredictor(), tmp_path, upload, "cat . dog", False, 0.35, 0.25, 0.5)
    assert len(json.loads(kept.file.read_text())["detections"]) == 3
    _redraw(kept, False, *SLIDERS)
    assert len(json.loads(kept.file.read_text())["detections"]) == 2


def test_sliders_before_the_first_picture_show_nothing():
    picture, summary, rows, _ = _redraw(None, False, *SLIDERS)
    assert (picture, summary, rows) == (None, "", [])


def test_an_error_is_shown_as_text_not_as_html():
    with pytest.raises(gr.Error) as shown, errors_shown():
        raise PromptError("<b>phrase</b> is empty")
    assert shown.value.message == "&lt;b&gt;phrase&lt;/b&gt; is empty"
    assert not shown.value.print_exception
