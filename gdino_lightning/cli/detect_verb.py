"""`gdino detect`: pictures, folders and videos in, boxes out."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdino_lightning.cli.given_phrases import given_phrases
from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.errors import ConfigError

if TYPE_CHECKING:
    from gdino_lightning.inference.look import LookRun, Summary
    from gdino_lightning.inference.words import Phrases

FAILED = 2  # exit code where a file could not be read
_SHOWN = 20  # failures that are printed; all are in failures.txt
FAILURES_NAME = "failures.txt"


def run_detect(arguments: Sequence[str]) -> int:
    """Detect in every picture of a source that is not done yet, and write what was found in all of them."""
    options = _parser().parse_args(arguments)
    phrases = given_phrases(options.phrases)
    for name, least in (("batch_size", 1), ("devices", 1), ("num_nodes", 1), ("num_workers", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} is {value}: it must be at least {least}")
    run = _look(options, phrases)
    return 0 if run is None else _report(run.finish(), options.output)


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino detect",
        description="Detect phrases in a picture, a folder, a glob pattern, a video or a list of them. Run again, it "
        "does only what is missing. Files hold boxes in stored pixels; drawings are upright (EXIF).",
        epilog="A file that cannot be read is named at the end, the others are done; the exit code is 2 then.",
    )
    add = parser.add_argument
    add("--weights", required=True, help="nano, a run folder, a checkpoint, a Hugging Face folder or a hub id")
    add("--source", required=True, help="picture, folder, 'glob pattern', video, or .txt with a path a line")
    add("--output", type=Path, default=Path("out"), help="folder to write (out)")
    add("--phrases", help="'cat . red dog', or a YAML file with a list or `class: wording`; default: the weights' own")
    add("--box_threshold", type=float, help="least score, the mean over a phrase's tokens; default: calibrated or 0.35")
    add("--text_threshold", type=float, help="least probability of every token; default: 0 where calibrated, else 0.25")
    add(
        "--nms_iou",
        type=float,
        help="overlap at which the worse box of a phrase goes; default: calibrated or 0.5",
    )
    add("--agnostic_nms", type=float, help="the same over all phrases, afterwards; default: left out")
    add(
        "--save",
        nargs="*",
        default=["pictures", "json", "csv"],
        metavar="WHAT",
        help="pictures json csv yolo voc (pictures json csv); voc is what `gdino prepare` reads",
    )
    add("--batch_size", type=int, help="pictures of one canvas that are looked at together (CPU: 2, else 8)")
    add("--num_workers", type=int, default=0, help="processes that read pictures (0: this one)")
    add("--short_side", type=int, help="px of the short side; default: as the weights were evaluated")
    add("--long_side_max", type=int, help="px that the long side does not exceed; default: in proportion")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")
    add("--devices", type=int, default=1, help="devices of each machine to share the pictures (1)")
    add("--num_nodes", type=int, default=1, help="machines that share them; start the command on each (1)")
    return parser


def _look(options: argparse.Namespace, phrases: "Phrases | None") -> "LookRun | None":
    """Do what is missing; return the run, None in the helping processes of several."""
    from gdino_lightning.inference.batches import usual_batch_size
    from gdino_lightning.inference.look import Cut, LookRun
    from gdino_lightning.inference.predictor import Predictor
    from gdino_lightning.inference.sources import find_sources

    _quiet_decoders()
    sources = find_sources(options.source, leave_out=options.output)
    predictor = Predictor.from_pretrained(
        options.weights, device=options.device, short_side=options.short_side, long_side_max=options.long_side_max
    )
    batch_size = options.batch_size or usual_batch_size(predictor.device)
    cut = Cut(options.box_threshold, options.text_threshold, options.nms_iou, options.agnostic_nms)
    about: dict[str, Any] = {"source": os.path.abspath(options.source), "weights": options.weights}  # noqa: PTH100  # a pattern, perhaps

    def make_run(rank: int) -> LookRun:
        return LookRun(predictor, phrases, sources, options.output, cut=cut, saves=options.save, about=about, rank=rank)

    if options.devices * options.num_nodes == 1:
        run = make_run(0)
        run.run(batch_size, options.num_workers)
        return run
    from gdino_lightning.cli.quiet import quiet
    from gdino_lightning.inference.many import run_on_many

    quiet()
    return run_on_many(
        predictor,
        make_run,
        devices=options.devices,
        num_nodes=options.num_nodes,
        batch_size=batch_size,
        num_workers=options.num_workers,
    )


def _quiet_decoders() -> None:
    """Keep OpenCV's and FFmpeg's own lines off the terminal: what they cannot read is named at the end."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _report(summary: "Summary", output: Path) -> int:
    """Print what is there and what failed; return the exit code."""
    boxes = "1 box" if summary.boxes == 1 else f"{summary.boxes:,} boxes"
    pictures = "1 picture" if summary.pictures == 1 else f"{summary.pictures:,} pictures"
    print(f"{boxes} in {pictures}: {output}")
    listing = output / FAILURES_NAME
    listing.unlink(missing_ok=True)
    if not summary.failures:
        return 0
    listing.write_text("".join(f"{line}\n" for line in summary.failures), encoding="utf-8", errors="surrogateescape")
    for line in summary.failures[:_SHOWN]:
        print(f"gdino: {line}", file=sys.stderr)
    count = len(summary.failures)
    print(f"gdino: {count:,} of {count + summary.pictures:,} files could not be read: {listing}", file=sys.stderr)
    return FAILED
