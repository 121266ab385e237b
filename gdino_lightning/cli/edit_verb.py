"""`gdino edit`: what phrases find is removed or replaced."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gdino_lightning.cli.parsers import LineParser
from gdino_lightning.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from gdino_lightning.editing.diffusion import Diffusion
    from gdino_lightning.editing.edit import Edited
    from gdino_lightning.editing.fill import Fill, OpenCvFill
    from gdino_lightning.editing.masks import Outline
    from gdino_lightning.editing.pictures import PictureFile
    from gdino_lightning.inference.pictures import Pixels
    from gdino_lightning.inference.postprocess import Detections

_EXAMPLE = "stable-diffusion-v1-5/stable-diffusion-inpainting"


def run_edit(arguments: Sequence[str]) -> int:
    """Detect, mask, fill and write."""
    options = _parser().parse_args(arguments)
    _check(options)
    from gdino_lightning.cli.quiet import quiet
    from gdino_lightning.editing.pictures import read_picture
    from gdino_lightning.inference.predictor import Predictor

    quiet()
    work = _read_work(options)
    source = read_picture(options.source)
    predictor = Predictor.from_pretrained(options.weights, device=options.device)
    found = predictor.predict(
        source.rgb,
        options.phrase,
        box_threshold=options.box_threshold,
        text_threshold=options.text_threshold,
        nms_iou=options.nms_iou,
    )
    labels = found.labels.tolist()
    print(", ".join(f"{phrase}: {labels.count(label)}" for label, phrase in enumerate(options.phrase)))
    edited = _edit(options, work, source.rgb, found, predictor.device)
    _write_result(options, source, edited)
    _write_extras(options, source, found, edited)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="gdino edit",
        description="Find what phrases say, and remove it or paint something else over it. Pixels outside the mask "
        "keep their values to the bit (in every format but JPEG). Several --phrase and --prompt are paired in their "
        "order, found in the source, and painted one after the other.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    files = parser.add_argument_group("files")
    files.add_argument("--source", type=Path, required=True, help="picture to edit")
    files.add_argument("--output", type=Path, required=True, help="picture to write; its ending gives the format")
    files.add_argument("--save_mask", type=Path, help="also write the mask, a grey .png")
    files.add_argument("--mask_only", action="store_true", help="write the mask to --output and fill nothing")
    files.add_argument("--sheet", type=Path, help="also write a .jpg: what was found, mask, result")
    files.add_argument("--overwrite", action="store_true", help="allow --output to be the source")
    _add_detection(parser.add_argument_group("what is found"))
    region = parser.add_argument_group("mask (lengths are shares of a box's longer side)")
    region.add_argument("--padding", type=float, default=0.15, help="added on every side of a box")
    region.add_argument("--feather", type=float, default=0.1, help="border inside the mask where old and new are mixed")
    region.add_argument("--ellipse", action="store_true", help="keep only the ellipse inside the padded box")
    _add_fill(parser.add_argument_group("fill"))
    return parser


def _add_detection(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--phrase", action="append", required=True, help="what to look for; may be repeated")
    group.add_argument("--weights", default="nano", help="nano, a hub id, a folder, a run or a checkpoint")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    group.add_argument("--box_threshold", type=float, help="score from which a box counts; null: calibrated, else 0.35")
    group.add_argument(
        "--text_threshold",
        type=float,
        help="what every word piece of a phrase must reach; null: 0 with calibrated thresholds, else 0.25",
    )
    group.add_argument("--nms_iou", type=float, help="overlap above which the lower score is dropped")


def _add_fill(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--prompt", action="append", help="what to paint instead of each --phrase (diffusers)")
    group.add_argument(
        "--backend",
        choices=("opencv", "diffusers"),
        help="opencv removes and needs no weights; diffusers paints. null: diffusers if there is a --prompt or "
        "--inpaint_weights, else opencv",
    )
    group.add_argument("--method", choices=("telea", "ns"), default="telea", help="opencv: algorithm")
    group.add_argument("--radius", type=int, default=5, help="opencv: px around a pixel that colour it")
    group.add_argument("--inpaint_weights", help=f"diffusers: folder or hub id of a pipeline, such as {_EXAMPLE}")
    group.add_argument("--variant", help="diffusers: ending of the weight files, such as fp16")
    group.add_argument("--strength", type=float, help="diffusers: 0 to 1; null: the pipeline's own, like the next two")
    group.add_argument("--steps", type=int, help="diffusers: denoising steps")
    group.add_argument("--guidance", type=float, help="diffusers: weight of the prompt")
    group.add_argument("--negative_prompt", help="diffusers: what shall not be seen")
    group.add_argument("--seed", type=int, default=0, help="diffusers: of the noise")
    group.add_argument(
        "--crop",
        type=float,
        default=1.0,
        help="diffusers: surroundings shown on each side of a masked place, as a share of its longer side; the window "
        "is painted at the pipeline's own resolution",
    )


def _check(options: argparse.Namespace) -> None:
    """Refuse what contradicts itself, before anything is loaded."""
    from gdino_lightning.editing.pictures import check_output

    phrases = options.phrase = [" ".join(phrase.split()) for phrase in options.phrase]
    if twice := [phrase for phrase in phrases if phrases.count(phrase) > 1]:
        raise ConfigError(f"--phrase {twice[0]!r} is given twice: one phrase has one replacement")
    if options.prompt and len(options.prompt) != len(phrases):
        raise ConfigError(f"{len(phrases)} --phrase but {len(options.prompt)} --prompt: they are paired in their order")
    options.backend = options.backend or ("diffusers" if options.prompt or options.inpaint_weights else "opencv")
    if options.backend == "opencv" and options.prompt:
        raise ConfigError("--backend opencv only removes: leave out --prompt, or take --backend diffusers")
    if options.backend == "diffusers" and not options.inpaint_weights and not options.mask_only:
        raise ConfigError(f"a --prompt is painted by a pipeline: give its --inpaint_weights, such as {_EXAMPLE}")
    check_output(options.output)
    _check_files(options)


def _check_files(options: argparse.Namespace) -> None:
    """Refuse to write over the source, or two things to one place."""
    masks = [options.output if options.mask_only else None, options.save_mask]
    for path, ending in [*((mask, ".png") for mask in masks), (options.sheet, ".jpg")]:
        if path is not None and path.suffix.lower() != ending:
            raise ConfigError(f"{path}: this is written as {ending}")
    written = [path.resolve() for path in (options.output, options.save_mask, options.sheet) if path is not None]
    if len(set(written)) < len(written):
        raise ConfigError("--output, --save_mask and --sheet must be different files")
    source = options.source.resolve()
    if source in written and not (source == written[0] and options.overwrite):
        raise ConfigError(f"{options.source} would be written over: choose another file, or give --overwrite")


@dataclass(frozen=True)
class _Work:
    """What is asked for, checked before anything is loaded."""

    outline: "Outline"
    removal: "OpenCvFill"
    diffusion: "Diffusion"


def _read_work(options: argparse.Namespace) -> _Work:
    from gdino_lightning.editing.diffusion import Diffusion
    from gdino_lightning.editing.fill import OpenCvFill
    from gdino_lightning.editing.masks import Outline

    names = ("strength", "steps", "guidance", "negative_prompt", "seed", "crop")
    return _Work(
        Outline(padding=options.padding, feather=options.feather, ellipse=options.ellipse),
        OpenCvFill(method=options.method, radius=options.radius),
        Diffusion(**{name: getattr(options, name) for name in names}),
    )


def _edit(
    options: argparse.Namespace, work: _Work, rgb: "Pixels", found: "Detections", device: "torch.device"
) -> "Edited":
    """Fill what was found; a pipeline is loaded only if there is something to fill."""
    from gdino_lightning.editing.diffusion import DiffusersFill
    from gdino_lightning.editing.edit import Edited, edit
    from gdino_lightning.editing.masks import mask_of

    mask = mask_of(found.boxes, rgb.shape[1], rgb.shape[0], work.outline)
    if options.mask_only or not mask.any():
        return Edited(rgb, mask)
    fill: Fill = work.removal
    if options.backend == "diffusers":
        fill = DiffusersFill.from_pretrained(
            options.inpaint_weights, work.diffusion, device=device, variant=options.variant
        )
    return edit(rgb, found, fill, options.prompt, work.outline)


def _write_result(options: argparse.Namespace, source: "PictureFile", edited: "Edited") -> None:
    """Write the picture, or the mask where only that is asked for."""
    from gdino_lightning.editing.pictures import write_mask, write_picture
    from gdino_lightning.files import write_atomic

    if options.mask_only:
        write_mask(options.output, edited.mask)
    elif edited.mask.any():
        write_picture(options.output, replace(source, rgb=edited.picture))
    else:
        print("nothing found, the picture is written as it is; a lower --box_threshold finds more")
        if options.output.suffix.lower() == options.source.suffix.lower():
            write_atomic(options.output, options.source.read_bytes())
        else:
            write_picture(options.output, source)
    print(options.output)


def _write_extras(options: argparse.Namespace, source: "PictureFile", found: "Detections", edited: "Edited") -> None:
    """Write the mask and the sheet, where they are asked for."""
    from gdino_lightning.editing.pictures import write_mask
    from gdino_lightning.editing.sheet import edit_sheet
    from gdino_lightning.files import write_atomic
    from gdino_lightning.inference.draw import encode_jpeg

    if options.save_mask:
        write_mask(options.save_mask, edited.mask)
        print(options.save_mask)
    if options.sheet:
        write_atomic(options.sheet, encode_jpeg(edit_sheet(source.rgb, found, edited)))
        print(options.sheet)
