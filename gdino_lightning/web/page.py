"""How the page looks and which function of `session` each part calls."""

import html
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from gdino_lightning.editing.fill import Fill
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.predictor import Predictor
from gdino_lightning.inference.thresholds import LITERATURE_NMS, LITERATURE_SCORE, LITERATURE_TEXT
from gdino_lightning.web import session
from gdino_lightning.web.edit_tab import build_edit_tab
from gdino_lightning.web.parts import KEEP_S, MODEL_QUEUE, errors_shown, new_file, share_slider, thresholds_of
from gdino_lightning.web.session import Looked

THEME = gr.themes.Default(primary_hue="emerald", spacing_size="sm", text_size="md")  # its fonts come with Gradio
CSS = "#summary, #edit_summary { min-height: 1.5em; }"
_CLEAN_S = 600  # how often old files are looked for


class _Results(NamedTuple):
    """Where what is found is shown."""

    picture: gr.Image
    summary: gr.Markdown
    table: gr.Dataframe
    download: gr.DownloadButton


def build_page(predictor: Predictor, title: str, folder: Path, paint: Fill | None = None) -> gr.Blocks:
    """Lay the page out.

    Args:
        predictor: Asked about every picture.
        title: Shown at the top: what the weights are called.
        folder: For files to download: Gradio's own, which it keeps small.
        paint: What paints after a prompt; without it things can only be removed.
    """
    page = gr.Blocks(title=f"gdino: {title}", analytics_enabled=False, delete_cache=(_CLEAN_S, KEEP_S), fill_width=True)
    with page:
        gr.Markdown(f"### gdino · {html.escape(title)}")
        kept = gr.State(time_to_live=KEEP_S)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                # the stored file itself is wanted (filepath, None), not Gradio's conversion of it
                upload = gr.Image(
                    label="Picture",
                    sources=["upload", "webcam", "clipboard"],
                    type="filepath",
                    image_mode=None,
                    height=240,
                    elem_id="upload",
                )
                phrases = gr.Textbox(
                    session.own_phrases(predictor),
                    label="Phrases",
                    info="separated by “ . ”, or one a line",
                    placeholder="cat . red car . person with a hat",
                    max_lines=4,
                    elem_id="phrases",
                )
                button = gr.Button("Detect", variant="primary", elem_id="detect")
                saved, sliders = _threshold_area(predictor)
            with gr.Column(scale=3, min_width=480):
                with gr.Tab("Detections"):
                    results = _result_area()
                with gr.Tab("Edit"):
                    names = build_edit_tab(kept, upload, [saved, *sliders], paint, folder)
        # preprocess=False: uploads are read by this project's own reader; that they are uploads Gradio has checked
        gr.on(
            [button.click, phrases.submit],
            partial(_detect, predictor, folder),
            [upload, phrases, saved, *sliders],
            [kept, names, *results],
            preprocess=False,
            show_progress_on=results.picture,
            api_visibility="private",
            **MODEL_QUEUE,
        )
        _connect_thresholds(kept, saved, sliders, results)
        upload.change(
            lambda: (None, gr.update(choices=[], value=[]), *_nothing()),
            None,
            [kept, names, *results],
            show_progress="hidden",
            api_visibility="private",
        )
    return page


class _Kept(NamedTuple):
    """What is kept for each open page: what the model said, and the file that can be downloaded."""

    looked: Looked
    file: Path


def _threshold_area(predictor: Predictor) -> tuple[gr.Checkbox, list[gr.Slider]]:
    calibrated = predictor.thresholds is not None
    saved = gr.Checkbox(calibrated, label="thresholds saved with the weights", visible=calibrated, elem_id="saved")
    return saved, [
        share_slider("Box threshold", "least score of a phrase", LITERATURE_SCORE, "box_threshold"),
        share_slider("Text threshold", "least of each of its tokens", LITERATURE_TEXT, "text_threshold"),
        share_slider("NMS overlap", "boxes of one phrase that overlap more are one", LITERATURE_NMS, "nms_iou"),
    ]


def _result_area() -> _Results:
    return _Results(
        gr.Image(
            label="Detections",
            interactive=False,
            format="jpeg",
            height=420,
            buttons=["download", "fullscreen"],
            elem_id="drawn",
        ),
        gr.Markdown(elem_id="summary"),
        gr.Dataframe(
            headers=list(session.HEADERS),
            datatype=["str", "number", "number", "number", "number", "number"],
            interactive=False,
            max_height=240,
            buttons=[],
            elem_id="table",
        ),
        gr.DownloadButton("Download JSON", interactive=False, size="sm", elem_id="download"),
    )


def _connect_thresholds(kept: gr.State, saved: gr.Checkbox, sliders: list[gr.Slider], results: _Results) -> None:
    """Show what is kept anew when a threshold moves; the model is not run."""
    for slider in sliders:
        slider.input(
            lambda kept, *values: (False, *_redraw(kept, False, *values)),  # a slider moved: unticks the weights' own
            [kept, *sliders],
            [saved, *results],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
    saved.input(_redraw, [kept, saved, *sliders], [*results], show_progress="hidden", api_visibility="private")


def _detect(
    predictor: Predictor, folder: Path, upload: dict[str, Any] | None, text: str, saved: bool, *sliders: float
) -> tuple[Any, ...]:
    with errors_shown():
        looked = session.look(predictor, upload, text)
    kept = _Kept(looked, new_file(folder, "detections.json"))
    names = list(looked.names)
    return kept, gr.update(choices=names, value=names), *_redraw(kept, saved, *sliders)


def _redraw(kept: _Kept | None, saved: bool, *sliders: float) -> tuple[Any, ...]:
    if kept is None:
        return _nothing()
    with errors_shown():
        view = session.view(kept.looked, thresholds_of(saved, sliders))
    write_atomic(kept.file, view.json.encode())
    return view.picture, view.summary, view.rows, gr.DownloadButton(value=str(kept.file), interactive=True)


def _nothing() -> tuple[Any, ...]:
    return None, "", [], gr.DownloadButton(value=None, interactive=False)
