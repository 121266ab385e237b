"""`gdino serve`: the page."""

import argparse
import sys
from collections.abc import Sequence

from gdino_lightning.cli.parsers import LineParser


def run_serve(arguments: Sequence[str]) -> int:
    """Serve the page until Ctrl-C, which `main` turns into the exit code 130."""
    options = _parser().parse_args(arguments)
    from gdino_lightning.cli.quiet import quiet
    from gdino_lightning.web.server import check_server, is_local, serve

    check_server(options.host, options.port)
    quiet()
    from gdino_lightning.inference.predictor import Predictor

    predictor = Predictor.from_pretrained(options.weights, device=options.device)
    paint = None
    if options.inpaint_weights:
        from gdino_lightning.editing.diffusion import DiffusersFill

        paint = DiffusersFill.from_pretrained(options.inpaint_weights, device=predictor.device)
    if not is_local(options.host):
        print(
            f"warning: --host {options.host} lets other machines in: whoever reaches port {options.port} can use the "
            "page, without a password and unencrypted",
            file=sys.stderr,
        )
    serve(predictor, options.weights, host=options.host, port=options.port, ready=_announce, paint=paint)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino serve",
        description="Open a page on this machine: give a picture by file, webcam or clipboard, type phrases, move the "
        "thresholds (the model is not run again), download the boxes. Nothing leaves the machine and nothing is "
        "fetched by the page; uploads are deleted at the end. Ctrl-C ends it (exit code 130).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--weights", required=True, help="nano, a hub id, a folder, a run or a checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860, help="TCP port")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--inpaint_weights",
        help="folder or hub id of a diffusers pipeline that paints in the part Edit; null: things can only be removed",
    )
    return parser


def _announce(url: str) -> None:
    print(f"the page: {url}    (Ctrl-C ends it)", flush=True)
