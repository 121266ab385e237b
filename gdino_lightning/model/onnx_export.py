"""Weights out as ONNX graphs: pictures in, scores of fixed phrases and boxes out, with no tokenizer to run them.

A graph has one canvas: Swin's windows and masks are laid out for its height and width. Text is encoded when the graph
is made and is a constant of it, so the text encoder is not part of it. Every graph is compared with torch before it
takes its place.

Letters: B pictures, Q queries, P phrases, H, W pixels.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.onnx import ONNXProgram
from torch.onnx.errors import OnnxExporterError
from tqdm import tqdm

from gdino_lightning.data.canvas import IMAGENET_MEAN, IMAGENET_STD
from gdino_lightning.errors import CheckpointError, ConfigError, PromptError
from gdino_lightning.model.detector import GroundingDetector, Switches
from gdino_lightning.model.fixed_prompt import FixedPrompt
from gdino_lightning.model.pretrained import Pretrained
from gdino_lightning.prompt import build_prompt, class_phrases

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # largest difference between onnxruntime and torch in a score or in a side of a box (cxcywh_norm)
LEAST_SIDE = 32  # px: one token of the coarsest stage of the backbone
INPUTS, OUTPUTS = ("pixels", "pixel_mask"), ("scores", "boxes")
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_PADDED = (0.7, 1.0, 0.4)  # shares of the canvas that the pictures of the comparison take

Canvas = tuple[int, int]  # width and height in px


@dataclass(frozen=True)
class ExportedGraph:
    """A graph that was written.

    Attributes:
        path: The .onnx file; what it holds is also told by the .json file of the same name.
        canvas: (width, height) px of the pictures it takes.
        dynamic_batch: Whether it takes any number of pictures; else one at a time.
        difference: Largest difference to torch that was found, in a score or in a side of a box (cxcywh_norm).
    """

    path: Path
    canvas: Canvas
    dynamic_batch: bool
    difference: float


def export_onnx(
    loaded: Pretrained,
    output: Path,
    *,
    canvases: Sequence[Canvas],
    phrases: Mapping[str, str | None] | Sequence[str] | None = None,
    dynamic_batch: bool = True,
    token_score: Literal["mean", "max"] = "mean",
    progress: bool = True,
) -> list[ExportedGraph]:
    """Write one graph for each canvas, `<output>/<width>x<height>.onnx`, with a .json file that describes it.

    A graph takes `pixels` (B, 3, H, W) float32, normalised, 0 where padded, and `pixel_mask` (B, H, W) bool, True on
    the picture; it gives `scores` (B, Q, P) in 0..1 and `boxes` (B, Q, 4) cxcywh_norm of the picture without padding.
    What a user must know (phrases, thresholds, canvas, normalisation) is in the graph's metadata, each value as JSON,
    and in the .json file. Weights of more than 1.5 GB go into a further file, `.onnx.data`.

    Args:
        loaded: Weights with their tokenizer, on the CPU; the model is in evaluation mode afterwards.
        output: Folder to write into; graphs of other canvases there stay.
        canvases: (width, height) px of each graph's pictures, padding included.
        phrases: Class name -> wording, or class names; by default those saved with the weights.
        dynamic_batch: A graph takes any number of pictures, if it can be exported so; else one.
        token_score: How the probabilities of a phrase's tokens make its score.
        progress: Show a bar.

    Raises:
        ConfigError: A package is missing, a canvas is too small, or `output` is a file.
        PromptError: There are no phrases, or they need more than one prompt.
        CheckpointError: A graph cannot be made, or onnxruntime's answers differ from torch's; it is not written then,
            those before it are.
    """
    _check_packages()
    _check_canvases(canvases)
    if output.suffix == ".onnx" or output.is_file():
        raise ConfigError(f"{output}: graphs are written into a folder, one for each canvas; give --output a folder")
    phrases = loaded.phrases if phrases is None else phrases
    if phrases is None:
        raise PromptError("phrases: none are saved with these weights; say with --phrases what the graph shall detect")
    wordings = class_phrases(phrases)
    prompt = build_prompt(list(wordings.values()), loaded.tokenizer, loaded.model.config.max_text_len)
    detector = GroundingDetector(loaded.model, Switches(**(loaded.architecture or {}))).eval()
    module = FixedPrompt(detector, prompt, token_score).eval()
    own = list((loaded.phrases or {}).values())
    facts = {
        "class_names": list(wordings),
        "phrases": list(wordings.values()),
        "thresholds": loaded.thresholds if list(wordings.values()) == own else None,  # by place in this order
        "token_score": token_score,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    unique = list(dict.fromkeys(canvases))
    return [
        _write_graph(module, output / f"{width}x{height}.onnx", (width, height), facts, dynamic_batch)
        for width, height in tqdm(unique, desc="onnx", unit="graph", disable=not progress)
    ]


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed: pip install 'gdino-lightning[onnx]'")


def _check_canvases(canvases: Sequence[Canvas]) -> None:
    if not canvases:
        raise ConfigError("no canvas: give the size of the pictures that the graph shall take, for example 640x480")
    for width, height in canvases:
        if min(width, height) < LEAST_SIDE:
            raise ConfigError(f"canvas {width}x{height}: both sides must be at least {LEAST_SIDE} px")


@torch.no_grad()
def _write_graph(
    module: FixedPrompt, path: Path, canvas: Canvas, facts: Mapping[str, Any], dynamic_batch: bool
) -> ExportedGraph:
    """Make, compare and write one graph; its files come into place when all are complete, the graph last."""
    program, dynamic = _export(module, canvas, dynamic_batch)
    info = {**facts, "canvas": canvas, "dynamic_batch": dynamic}
    program.model.metadata_props.update({name: json.dumps(value, ensure_ascii=False) for name, value in info.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.stem}.", suffix=".part", dir=path.parent) as folder:
        draft = Path(folder, path.name)
        program.save(draft)
        probe = _save_probe(program, draft.with_stem("probe"))
        difference = _difference(module, draft, probe, _test_batches(canvas, dynamic))
        if not difference <= TOLERANCE:  # NaN, too
            raise CheckpointError(
                f"{path}: not written, onnxruntime's answers differ from torch's by {difference:.2g}, {TOLERANCE:g} is "
                "allowed; try other versions of onnxruntime and torch"
            )
        text = json.dumps(info, ensure_ascii=False, indent=1)
        draft.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")
        for file in sorted(Path(folder).glob(f"{path.stem}.*"), key=draft.__eq__):
            file.replace(path.with_name(file.name))
    return ExportedGraph(path, canvas, dynamic, difference)


def _export(module: nn.Module, canvas: Canvas, dynamic_batch: bool) -> tuple[ONNXProgram, bool]:
    """Make a graph in memory, and tell whether its batch size is free.

    Raises:
        CheckpointError: It cannot be made.
    """
    try:
        return _traced(module, canvas, dynamic_batch), dynamic_batch
    except OnnxExporterError as error:
        if not dynamic_batch:
            raise CheckpointError(
                f"canvas {canvas[0]}x{canvas[1]}: torch cannot export the graph ({_cause(error)}); try other versions "
                "of torch and onnxscript"
            ) from error
        logger.warning(
            "canvas %dx%d: the graph cannot be exported for any number of pictures (%s); it takes one at a time",
            *canvas,
            _cause(error),
        )
    return _export(module, canvas, dynamic_batch=False)


def _traced(module: nn.Module, canvas: Canvas, dynamic_batch: bool) -> ONNXProgram:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    width, height = canvas
    count = 2 if dynamic_batch else 1  # tracing one picture would take the 1 for a constant
    batch = torch.export.Dim("batch")
    inputs = torch.zeros(count, 3, height, width), torch.ones(count, height, width, dtype=torch.bool)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            inputs,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch}, {0: batch}) if dynamic_batch else None,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise OnnxExporterError("torch.onnx.export returned nothing")
    shape = program.model.graph.inputs[0].shape
    if dynamic_batch and (shape is None or isinstance(shape[0], int)):
        raise OnnxExporterError("the number of pictures became a constant")  # torch does so without a word
    ClearMetadataAndDocStringPass()(program.model)  # each node tells where it was made: folders of this machine
    return program


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out what has no meaning in a graph, and remarks that help no user, while a graph is made."""
    checks = "TRANSFORMERS_DISABLE_TORCH_CHECK"  # of shapes by value: constants here, and ONNX has no operator for them
    before = os.environ.get(checks)
    levels = {log: log.level for log in map(logging.getLogger, ("torch.onnx", "onnxscript"))}
    os.environ[checks] = "1"
    for log in levels:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)
        if before is None:
            del os.environ[checks]
        else:
            os.environ[checks] = before


def _save_probe(program: ONNXProgram, path: Path) -> Path | None:
    """Save the graph with one more output, the image tokens (B, Q) that queries start from.

    Returns:
        `path`, or None where queries start from learned anchors and content: what is picked is not in the graph then.
    """
    graph = program.model.graph
    picks = [node.outputs[1] for node in graph if node.op_type == "TopK"]
    if not picks:
        return None
    graph.outputs.extend(picks)
    program.save(path)
    del graph.outputs[-len(picks) :]
    return path


def _test_batches(canvas: Canvas, dynamic_batch: bool) -> list[tuple[Tensor, Tensor]]:
    """Draw pictures of several sizes on a canvas, alone and, where that is possible, together."""
    width, height = canvas
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(len(_PADDED), height, width, dtype=torch.bool)
    for row, share in zip(mask, _PADDED, strict=True):
        row[: round(share * height), : round(share * width)] = True
    pixels = torch.randn(len(mask), 3, height, width, generator=generator) * mask[:, None]
    alone = [(pixels[i : i + 1], mask[i : i + 1]) for i in range(len(mask))]
    return [*alone, (pixels, mask)] if dynamic_batch else alone


def _difference(module: FixedPrompt, path: Path, probe: Path | None, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the largest difference between a graph in onnxruntime and its module in torch.

    Args:
        module: What was exported.
        path: The graph.
        probe: The same graph, which also gives its picked image tokens, if it has any.
        batches: Pixels and masks to compare on.
    """
    graph, telling = _session(path), None if probe is None else _session(probe)
    worst = []
    for pixels, mask in batches:
        feeds = dict(zip(INPUTS, (pixels.numpy(), mask.numpy()), strict=True))
        answers = [torch.from_numpy(output) for output in graph.run(OUTPUTS, feeds)]
        if telling is None:
            expected = module(pixels, mask)
        else:
            *expected, apart = module.follow(pixels, mask, torch.from_numpy(telling.run(None, feeds)[-1]))
            worst.append(apart.abs().max())
        worst += [(answer - theirs).abs().max() for answer, theirs in zip(answers, expected, strict=True)]
    return float(torch.stack(worst).max())


def _session(path: Path) -> Any:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _cause(error: BaseException) -> str:
    """Return the first line of what an error of the exporter was caused by."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
