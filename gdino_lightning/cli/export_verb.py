"""`gdino export`: weights out, and from one program's format to another's."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gdino_lightning.cli.given_phrases import given_phrases
from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.errors import ConfigError

if TYPE_CHECKING:
    from gdino_lightning.model.pretrained import Pretrained

_CANVAS = re.compile(r"(\d{1,5})[x*](\d{1,5})")


def run_export(arguments: Sequence[str]) -> int:
    """Read weights of any kind and write them in another."""
    options = _parser().parse_args(arguments)
    canvases = [_canvas(text) for text in options.canvas]
    _check(options)
    from gdino_lightning.model.pretrained import load_pretrained

    loaded = load_pretrained(options.weights)
    if options.format == "official":
        from gdino_lightning.model.convert.write import export_official

        export_official(loaded, options.output, source=options.weights)
        print(f"weights for the official code: {options.output}")
    elif options.format == "hf":
        _export_folder(loaded, options.output, options.weights, options.license)
    else:
        _export_graphs(loaded, options, canvases)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino export",
        description="Read weights of any kind and write them as a Hugging Face folder, as a .pth of the official code, "
        "or as ONNX graphs of a fixed prompt. From official to hf and back changes no bit of float32 weights.",
    )
    add = parser.add_argument
    add(
        "--weights",
        required=True,
        help="nano, a run folder, a checkpoint, a Hugging Face folder, a hub id, or a .pth of the official code or of "
        "MMDetection",
    )
    add("--format", choices=("hf", "official", "onnx"), required=True)
    add("--output", type=Path, required=True, help="folder to write; with --format official a file")
    add("--license", help="hf: SPDX identifier for the model card, such as cc-by-4.0; default: that of known weights")
    add("--phrases", help="onnx: 'cat . red dog', or a YAML file; default: those saved with the weights")
    add(
        "--canvas",
        nargs="+",
        default=[],
        metavar="WIDTHxHEIGHT",
        help="onnx: px of the pictures, padding included; a graph for each, for example 640x480 1066x800",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse flags that belong to another format.

    Raises:
        ConfigError: One does.
    """
    for name, wanted in (("phrases", "onnx"), ("canvas", "onnx"), ("license", "hf")):
        if getattr(options, name) and options.format != wanted:
            raise ConfigError(f"--{name} is for --format {wanted}; leave it out with --format {options.format}")


def _canvas(text: str) -> tuple[int, int]:
    match = _CANVAS.fullmatch(text.lower())
    if match is None:
        raise ConfigError(f"--canvas {text}: expected WIDTHxHEIGHT in px, for example 640x480")
    return int(match[1]), int(match[2])


def _export_folder(loaded: "Pretrained", folder: Path, source: str, license_id: str | None) -> None:
    from gdino_lightning.cli.run_facts import facts_of
    from gdino_lightning.model.export import export_hf

    for remark in export_hf(loaded, folder, source=source, facts=facts_of(source, license_id)):
        print(remark)
    print(f"Hugging Face folder: {folder}\nnext: gdino detect --weights {folder} --source pictures/ --output out/")


def _export_graphs(loaded: "Pretrained", options: argparse.Namespace, canvases: Sequence[tuple[int, int]]) -> None:
    from gdino_lightning.inference.saved import saved_evaluation
    from gdino_lightning.inference.words import read_phrases
    from gdino_lightning.model.onnx_export import export_onnx

    given = given_phrases(options.phrases)
    wordings = None if given is None else read_phrases(given)
    token_score = saved_evaluation(options.weights).token_score  # the thresholds belong to it
    graphs = export_onnx(loaded, options.output, canvases=canvases, phrases=wordings, token_score=token_score)
    for graph in graphs:
        batch = "any number of pictures" if graph.dynamic_batch else "one picture"
        print(f"{graph.path}: {batch}, at most {graph.difference:.1g} from torch")
