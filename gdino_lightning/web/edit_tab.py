"""The part of the page that edits what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from gdino_lightning.editing.fill import Fill, OpenCvFill
from gdino_lightning.editing.masks import Outline
from gdino_lightning.web.edit_session import edit_shown
from gdino_lightning.web.parts import MODEL_QUEUE, errors_shown, new_file, share_slider, thresholds_of
from gdino_lightning.web.session import Looked

_REMOVE, _PAINT = "remove", "paint"
_SLIDERS = 3  # thresholds


def build_edit_tab(
    kept: gr.State, upload: gr.Image, thresholds: Sequence[gr.Checkbox | gr.Slider], paint: Fill | None, folder: Path
) -> gr.Dropdown:
    """Lay the part out.

    Args:
        kept: What was looked at last, with its file, or None.
        upload: The area for pictures; another picture empties this part.
        thresholds: Whether the weights' own are wanted, and the sliders.
        paint: What paints after a prompt; without it things can only be removed.
        folder: For files to download.

    Returns:
        The choice of phrases; its choices are set when something was looked at.
    """
    usual = Outline()
    names = gr.Dropdown([], label="Phrases to edit", multiselect=True, elem_id="edit_phrases")
    with gr.Row(equal_height=True):
        padding = share_slider("Padding", "around each box", usual.padding, "padding")
        feather = share_slider("Feather", "soft border", usual.feather, "feather")
        ellipse = gr.Checkbox(usual.ellipse, label="ellipse, not box", elem_id="ellipse", min_width=120, scale=0)
    with gr.Row(visible=paint is not None):
        choice = gr.Radio([_REMOVE, _PAINT], value=_REMOVE if paint is None else _PAINT, show_label=False)
        prompt = gr.Textbox(label="Prompt", placeholder="a red scarf", elem_id="prompt", scale=3)
    button = gr.Button("Edit", variant="primary", elem_id="edit")
    result = gr.ImageSlider(
        label="Before | after", interactive=False, format="jpeg", height=360, buttons=["fullscreen"], elem_id="edited"
    )
    summary = gr.Markdown(elem_id="edit_summary")
    download = gr.DownloadButton("Download PNG", interactive=False, size="sm", elem_id="edit_download")

    def run(kept: tuple[Looked, Path] | None, saved: bool, *values: Any) -> tuple[Any, ...]:
        sliders, (chosen, pad, soft, round_, how, text) = values[:_SLIDERS], values[_SLIDERS:]
        output = new_file(folder, "edited.png")
        with errors_shown():
            shown = edit_shown(
                kept[0] if kept else None,
                thresholds_of(saved, sliders),
                chosen,
                paint if paint and how == _PAINT else OpenCvFill(),
                text if how == _PAINT else "",
                Outline(pad, soft, round_),
                output,
            )
        return (shown.before, shown.after), shown.summary, gr.DownloadButton(value=str(output), interactive=True)

    button.click(
        run,
        [kept, *thresholds, names, padding, feather, ellipse, choice, prompt],
        [result, summary, download],
        show_progress_on=result,
        api_visibility="private",
        **MODEL_QUEUE,
    )
    upload.change(
        lambda: (None, "", gr.DownloadButton(value=None, interactive=False)),
        None,
        [result, summary, download],
        show_progress="hidden",
        api_visibility="private",
    )
    return names
