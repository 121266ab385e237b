"""The same test pictures before fine-tuning and after some epochs, in one sheet.

```
python -m benchmarks.epochs_sheet                    # from the checkout: trains configs/sample.yaml, writes the sheet
python -m benchmarks.epochs_sheet --run runs/mine    # the epochs of a finished run
```

Rows are test pictures, spread evenly over the split. Columns are the ground truth, the weights that training started
from, and epochs. Every cell shows what `gdino detect` shows: the detections at the working point of its weights.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchmarks._command import end_on_sigterm, exit_code, positive
from benchmarks._runs import LOG_NAME, claim, gdino
from benchmarks._training import CONFIG, clear
from gdino_lightning.errors import ConfigError
from gdino_lightning.files import write_atomic

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from gdino_lightning.data.pictures import Picture
    from gdino_lightning.inference.draw import Image
    from gdino_lightning.inference.predictor import Predictor

NAME = "epochs_sheet"
FIT = "fit"  # folder of the run below --runs
CALLBACKS = ("RampedEMA", "Calibrate", "EpochCheckpoints")  # of the configuration: what decides about weights
CELL_SIDE = 300  # px of the shorter side of a picture in which boxes are drawn
CELL_WIDTH, TEXT_HEIGHT = 3.0, 0.35  # inches
DPI, QUALITY = 110, 80  # a sheet of 4 x 5 cells has some 300 kB


@dataclass(frozen=True)
class Settings:
    """What a run is trained with.

    Attributes:
        epochs: Passes over the training pictures.
        flags: Further flags of `gdino fit`.
    """

    epochs: int
    flags: list[str]


@dataclass(frozen=True)
class Cell:
    """A picture of the sheet.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) xyxy_px to draw.
        labels: N class indices.
    """

    image: "Image"
    boxes: "npt.ArrayLike"
    labels: list[int]


@dataclass(frozen=True)
class Column:
    """A column of the sheet.

    Attributes:
        title: Above it.
        unit: What is counted below each picture.
        cells: One for each row.
    """

    title: str
    unit: str
    cells: list[Cell]


def main(argv: Sequence[str] | None = None) -> int:
    """Train where nothing is trained yet, draw the sheet and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    options, flags = _parser().parse_known_args(argv)
    return exit_code(NAME, lambda: _work(options, flags))


def _work(options: argparse.Namespace, flags: list[str]) -> None:
    folder = options.run or trained(options.runs, Settings(max(options.epochs), flags))
    checkpoints = {epoch: _checkpoint(folder, epoch) for epoch in options.epochs}
    missing = [str(path) for path in checkpoints.values() if not path.is_file()]
    if missing:
        raise ConfigError(f"{missing[0]}: no such epoch; choose other --epochs, or a run that kept all of them")
    classes, columns = columns_of(folder, checkpoints, options.num_pictures)
    data = jpeg(sheet(columns, classes))
    write_atomic(options.output, data)
    print(f"{options.output}: {len(data) / 1000:.0f} kB")


def trained(runs: Path, settings: Settings) -> Path:
    """Return the run with these settings, trained if it is not finished.

    Raises:
        ConfigError: The folder holds a run with other settings.
        RunError: The training failed.
    """
    claim(runs, settings)
    folder = runs / FIT
    if not _checkpoint(folder, settings.epochs).is_file():
        clear(folder)  # of a run that was broken off
        gdino("fit", _arguments(folder, settings), runs, *settings.flags)
    return folder


def columns_of(folder: Path, checkpoints: Mapping[int, Path], num_pictures: int) -> tuple[list[str], list[Column]]:
    """Ask the weights of a run about test pictures.

    Args:
        folder: The run.
        checkpoints: Epochs of training -> weights.
        num_pictures: Rows.

    Returns:
        The class names, and the columns.
    """
    import torch  # these take seconds: not for --help

    from gdino_lightning.data.pictures import read_split
    from gdino_lightning.inference.predictor import Predictor
    from gdino_lightning.inference.saved import saved_evaluation
    from gdino_lightning.model.pretrained import load_pretrained
    from gdino_lightning.prompt import class_phrases

    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    phrases = class_phrases(config["model"]["phrases"])
    pictures = spread(read_split(Path(config["data"]["root"]) / "test"), num_pictures)
    evaluation = saved_evaluation(next(iter(checkpoints.values())))
    before = Predictor(load_pretrained(config["model"]["weights"]), evaluation, torch.device("cpu"))
    columns = [_truth(pictures, list(phrases)), _column("zero-shot", before, pictures, phrases)]
    for epoch, path in checkpoints.items():
        columns.append(_column(f"epoch {epoch}", Predictor.from_pretrained(path, device="cpu"), pictures, phrases))
    return list(phrases), columns


def spread(pictures: Sequence["Picture"], count: int) -> list["Picture"]:
    """Return `count` pictures, evenly spaced in their order; all of them where there are fewer."""
    last = min(count, len(pictures)) - 1
    return [pictures[round(place * (len(pictures) - 1) / max(1, last))] for place in range(last + 1)]


def sheet(columns: Sequence[Column], classes: Sequence[str]) -> "Figure":
    """Draw the columns beside each other; boxes have the colours of their classes, which a legend names.

    Args:
        columns: With as many cells each.
        classes: Class names.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from gdino_lightning.inference.draw import color_of, draw_boxes

    shapes = [cell.image.shape for cell in columns[0].cells]
    heights = [CELL_WIDTH * height / width + TEXT_HEIGHT for height, width, _ in shapes]
    size = (CELL_WIDTH * len(columns), sum(heights) + 2 * TEXT_HEIGHT)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights)
    for column, places in zip(columns, axes.T, strict=True):
        places[0].set_title(column.title)
        for cell, place in zip(column.cells, places, strict=True):
            boxes = [color_of(label) for label in cell.labels]
            place.imshow(draw_boxes(cell.image, cell.boxes, [""] * len(boxes), boxes, min_side=CELL_SIDE))
            place.set_xlabel(counted(len(boxes), column.unit))
            place.set(xticks=[], yticks=[])
    colors = ["#{:02x}{:02x}{:02x}".format(*color_of(label)) for label in range(len(classes))]
    patches = [Patch(color=color, label=name) for color, name in zip(colors, classes, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    return figure


def counted(count: int, unit: str) -> str:
    """Write a number of things: "1 box", "2 boxes", "no box"."""
    plural = f"{unit}es" if unit.endswith("x") else f"{unit}s"
    return f"{count or 'no'} {plural if count > 1 else unit}"


def jpeg(figure: "Figure") -> bytes:
    """Return a figure as a JPEG file."""
    file = BytesIO()
    figure.savefig(file, format="jpeg", dpi=DPI, pil_kwargs={"quality": QUALITY, "optimize": True})
    return file.getvalue()


def _truth(pictures: Sequence["Picture"], classes: Sequence[str]) -> Column:
    from gdino_lightning.data.images import read_rgb

    cells = [
        Cell(read_rgb(each.path), each.boxes_px, [classes.index(label) for label in each.labels]) for each in pictures
    ]
    return Column("ground truth", "object", cells)


def _column(title: str, predictor: "Predictor", pictures: Sequence["Picture"], phrases: Mapping[str, str]) -> Column:
    from gdino_lightning.data.images import read_rgb

    found = [(read_rgb(each.path), predictor.predict(each.path, dict(phrases))) for each in pictures]
    return Column(title, "box", [Cell(image, each.boxes.numpy(), each.labels.tolist()) for image, each in found])


def _checkpoint(folder: Path, epoch: int) -> Path:
    """Return the weights after so many epochs of training."""
    return folder / "checkpoints" / f"epoch-{epoch - 1:02d}.ckpt"


def _arguments(folder: Path, settings: Settings) -> dict[str, object]:
    """Return the arguments of `gdino fit`: every epoch is validated, hence calibrated, and kept, to the last one."""
    callbacks = []
    for callback in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["trainer"]["callbacks"]:
        name = callback["class_path"].rpartition(".")[2]
        if name == "EpochCheckpoints":
            callback["init_args"] = callback.get("init_args", {}) | {"keep": settings.epochs}
        if name in CALLBACKS:
            callbacks.append(callback)
    return {
        "config": CONFIG,
        "run": folder,
        "trainer.max_epochs": settings.epochs,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.enable_progress_bar": False,
        "trainer.callbacks": callbacks,
    }


def _epochs(text: str) -> list[int]:
    """Read "1,5,10", for argparse."""
    return sorted({positive(part.strip()) for part in text.split(",")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{NAME}",
        description="Draw the same test pictures before fine-tuning and after some epochs in one sheet. Trains "
        f"configs/{CONFIG.name} where no finished run is given; flags that are not listed here go to its `gdino fit`.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--epochs", type=_epochs, default=[1, 5, 10], metavar="1,5,10", help="epochs of training to show")
    add("--num_pictures", type=positive, default=4, help="rows: test pictures, spread evenly over the split")
    add("--run", type=Path, help="a finished run that kept these epochs; nothing is trained")
    add("--runs", type=Path, default=Path("runs") / NAME, help=f"folder of the run to train, with its {LOG_NAME}")
    add("--output", type=Path, default=Path("docs") / f"{NAME}.jpg", help="file to write")
    return parser


if __name__ == "__main__":
    end_on_sigterm()
    raise SystemExit(main())
