"""Two ways to fine-tune, side by side: the settings of a tutorial with its last epoch, and ours with a selected one.

```
python -m benchmarks.two_runs --epochs_table         # from the checkout; Ctrl-C loses only the training in progress
python -m benchmarks.two_runs --report --write docs  # trains nothing; fills the page docs/two_runs.md
```

All runs start from the same weights and use the same drawn pictures. Each is `gdino fit` on a file of configs/, with
size, pictures and epochs changed (`_common`, `_two`, `_four`); all epochs are kept until they are scored (`_epochs`).
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks._command import end_on_sigterm, exit_code, positive
from benchmarks._runs import LOG_NAME, RESULT_NAME, gdino
from benchmarks._training import CONFIG, draw_dataset
from benchmarks._two_runs_page import Finished, fill, picture, tables
from gdino_lightning.errors import ConfigError
from gdino_lightning.files import write_atomic

TUTORIAL = CONFIG.with_name("tutorial.yaml")
NAME = "two_runs"  # of page, picture and numbers
ALL_EPOCHS = 10_000  # kept until they are scored
_NEEDED = ("Calibrate", "EpochCheckpoints")  # callbacks that decide what is selected
_PLACES = ("data.root",)  # keys that are no settings of the training
FITTED = ("tutorial", "tutorial_faster", "ours")
VARIANTS = ("neither", "weight_decay", "dropout", "both")


@dataclass(frozen=True)
class Run:
    """A run to train.

    Attributes:
        folder: Name of its folder.
        title: What it is called on the page.
        config: File of its settings.
        changed: Key -> value, over what the file says.
        selects: It hands over the selected epoch, not the last one.
        every_epoch: All its epochs are tested, else the selected and the last one.
    """

    folder: str
    title: str
    config: Path
    changed: dict[str, object]
    selects: bool
    every_epoch: bool

    def settings(self) -> dict[str, object]:
        """Return everything that it is trained with, key -> value: what is changed over what the file says."""
        given = {key: value for key, value in self.changed.items() if key not in _PLACES}
        return {**_flat(_read(self.config)), **json.loads(json.dumps(given))}

    def arguments(self, runs: Path) -> dict[str, object]:
        """Return the arguments of its `gdino fit`, key -> value, in a folder of runs."""
        return {"config": os.path.relpath(self.config), "run": str(runs / self.folder), **self.changed}


def main(argv: Sequence[str] | None = None) -> int:
    """Train and score what is missing, print and write what there is, and return the exit code.

    Args:
        argv: The arguments, without the program's name; None takes those of the process.
    """
    options = _parser().parse_args(argv)
    return exit_code(NAME, lambda: _work(options))


def train(planned: Sequence[Run], runs: Path, root: Path, num_images: int) -> None:
    """Train and score every run that has no result yet, with a line for each.

    Args:
        planned: The runs.
        runs: Folder of all of them.
        root: Folder of the drawn dataset.
        num_images: Pictures of the dataset; a quarter of them tests.

    Raises:
        GdinoError: Something given cannot be used, or a finished run was trained with other settings.
        RunError: A training failed.
    """
    missing = [run for run in planned if not _is_finished(run, runs)]
    print(f"{len(planned) - len(missing)} of {len(planned)} runs are finished", flush=True)
    if missing:
        draw_dataset(root, num_images)
    for run in missing:
        finished = fit_and_score(run, runs)
        write_atomic(runs / run.folder / RESULT_NAME, _json(asdict(finished)))
        scores = finished.at(finished.handed_over)
        print(
            f"{run.title}: epoch {finished.handed_over} of {finished.last}, "
            f"test mAP {scores['map']:.3f}, {finished.seconds / 60:.1f} min",
            flush=True,
        )


def fit_and_score(run: Run, runs: Path) -> Finished:
    """Train a run in a new folder and score its epochs; of its checkpoints best.ckpt and the last epoch stay.

    Raises:
        RunError: The training failed.
    """
    from benchmarks._epochs import score_run  # takes seconds: not for --help and --report

    folder = runs / run.folder
    if folder.exists():
        shutil.rmtree(folder)  # of a run that was broken off
    arguments = run.arguments(runs)
    start = time.monotonic()
    gdino("fit", arguments, folder)
    seconds = time.monotonic() - start
    history = score_run(folder, selects=run.selects, every_epoch=run.every_epoch)
    kept = {"best.ckpt", f"epoch-{history.last - 1:02d}.ckpt"}
    for path in (folder / "checkpoints").glob("*.ckpt"):
        if path.name not in kept:
            path.unlink()
    return Finished(run.title, arguments, run.settings(), run.selects, **asdict(history), seconds=seconds)


def read_finished(names: Sequence[str], runs: Path) -> list[Finished]:
    """Read the finished runs among those named."""
    paths = [runs / name / RESULT_NAME for name in names]
    return [Finished(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.is_file()]


def write_page(folder: Path, runs: Sequence[Finished], variants: Sequence[Finished]) -> None:
    """Fill in two_runs.md of a folder and write two_runs.png and two_runs.json beside it.

    Args:
        folder: With the page.
        runs: The runs of the picture.
        variants: The runs of the table of epochs.

    Raises:
        ConfigError: The page is missing, or its marks are not those of the tables.
    """
    path = folder / f"{NAME}.md"
    if not path.is_file():
        raise ConfigError(f"{path}: no such page; --write takes the folder that holds it")
    write_atomic(path, fill(path.read_text(encoding="utf-8"), tables(runs, variants)).encode())
    write_files(folder, runs, variants)


def write_files(folder: Path, runs: Sequence[Finished], variants: Sequence[Finished]) -> None:
    """Write two_runs.json, all numbers, and two_runs.png, where there is something to draw."""
    numbers = {"runs": [asdict(run) for run in runs], "variants": [asdict(run) for run in variants]}
    write_atomic(folder / f"{NAME}.json", _json(numbers))
    if runs:
        picture(runs).savefig(folder / f"{NAME}.png", dpi=100)


def _work(options: argparse.Namespace) -> None:
    if not options.report:
        planned = [*_two(options), *(_four(options) if options.epochs_table else [])]
        train(planned, options.runs, options.root, options.num_images)
    runs, variants = read_finished(FITTED, options.runs), read_finished(VARIANTS, options.runs)
    if not runs and not variants:
        raise ConfigError(f"{options.runs}: no finished run in it, so there is nothing to report")
    found = tables(runs, variants)
    print("\n\n".join(f"{name}:\n\n{table}" for name, table in found.items()))
    write_files(options.runs, runs, variants)
    if options.write is not None:
        write_page(options.write, runs, variants)


def _two(options: argparse.Namespace) -> list[Run]:
    """The tutorial as it stands, with a rate that moves the miniature, and ours."""
    tutorial = _common(options) | {"trainer.max_epochs": options.epochs} | _callbacks(TUTORIAL)
    rate = float(f"{_flat(_read(TUTORIAL))['model.learning_rate'] * options.rate_factor:.6g}")  # 3e-4, not 3.0000001e-4
    ours = _common(options) | {"data.val": options.val, "trainer.max_epochs": options.our_epochs} | _callbacks(CONFIG)
    faster = f"tutorial, rate x {options.rate_factor}"
    runs = [
        Run("tutorial", "tutorial", TUTORIAL, tutorial, selects=False, every_epoch=True),
        Run("tutorial_faster", faster, TUTORIAL, tutorial | {"model.learning_rate": rate}, False, True),
        Run("ours", "ours", CONFIG, ours, selects=True, every_epoch=True),
    ]
    return runs


def _four(options: argparse.Namespace) -> list[Run]:
    """Ours without early stopping and averaged weights, with and without weight decay and dropout.

    The rate is constant: so a row of the table is what a run of that many epochs would have handed over.
    """
    usual = _common(options) | {"data.val": options.val, "trainer.max_epochs": options.epochs}
    usual |= {"model.schedule": "constant"} | _callbacks(CONFIG, _NEEDED)
    runs = []
    for name in VARIANTS:
        decay = options.weight_decay if name in ("weight_decay", "both") else 0.0
        dropout = options.dropout if name in ("dropout", "both") else 0.0
        changed = usual | {"model.weight_decay": decay, "model.dropout": dropout}
        runs.append(Run(name, name.replace("_", " "), CONFIG, changed, selects=True, every_epoch=False))
    return runs


def _common(options: argparse.Namespace) -> dict[str, object]:
    """What all runs share: weights, pictures and their size; the last five change the time that a run takes, only."""
    return {
        "model.weights": options.weights,
        "data.root": str(options.root),
        "data.source": None,
        "data.short_side": options.short_side,
        "data.long_side_max": options.short_side,
        "data.train_short_sides": None,
        "data.canvas_multiple": 32,
        "trainer.check_val_every_n_epoch": 1,
        "data.eval_batch_size": 16,
        "data.num_workers": 0,
        "data.cache": True,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": False,
    }


def _callbacks(config: Path, only: Sequence[str] | None = None) -> dict[str, object]:
    """Return the file's callbacks (`only` some, by name) as a key and its value; every epoch is kept."""
    chosen = []
    for callback in _read(config)["trainer"]["callbacks"]:
        name = callback["class_path"].rpartition(".")[2]
        if name == "EpochCheckpoints":
            callback["init_args"] = callback.get("init_args", {}) | {"keep": ALL_EPOCHS}
        if only is None or name in only:
            chosen.append(callback)
    return {"trainer.callbacks": chosen}


def _is_finished(run: Run, runs: Path) -> bool:
    """Tell whether a run has a result.

    Raises:
        ConfigError: It was trained with other settings.
    """
    for finished in read_finished([run.folder], runs):
        wanted = run.settings()
        differing = {key for key in wanted | finished.settings if wanted.get(key) != finished.settings.get(key)}
        if differing:
            raise ConfigError(
                f"{runs / run.folder}: was trained with other settings ({', '.join(sorted(differing))}); "
                "delete it or choose another --runs"
            )
        return True
    return False


def _read(config: Path) -> Any:
    return yaml.safe_load(config.read_text(encoding="utf-8"))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return section.key -> value of a configuration."""
    sections = {name: section for name, section in config.items() if isinstance(section, dict)}
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{NAME}",
        description="Fine-tune the miniature with the tutorial's settings and with ours, score every epoch on the test "
        "pictures, and draw both in one picture. Finished runs are kept: the same command goes on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs_table", action="store_true", help="also train with and without weight decay and dropout")
    add("--epochs", type=positive, default=45, help="of the tutorial and of the table of epochs")
    add("--our_epochs", type=positive, default=20, help="at most, of ours; early stopping may end it")
    add("--num_images", type=positive, default=240, help="pictures to draw; a quarter of them tests")
    add("--val", type=float, default=0.25, help="share of the others that validates, where a run validates")
    add("--short_side", type=positive, default=128, help="px of a picture, both sides fit into it")
    add("--rate_factor", type=positive, default=30, help="times the tutorial's learning rate, in its second run")
    add("--weight_decay", type=float, default=0.1, help="of the table of epochs")
    add("--dropout", type=float, default=0.1, help="of the table of epochs")
    add("--weights", default="nano", help="where training starts")
    add("--root", type=Path, default=Path("data/two_runs"), help="folder of the dataset, drawn where it is missing")
    add("--runs", type=Path, default=Path("runs/two_runs"), help=f"folder of the runs; each has its {LOG_NAME}")
    add("--report", action="store_true", help="print and write what is finished, train nothing")
    add("--write", type=Path, metavar="DIR", help=f"folder of the page {NAME}.md to fill in, such as docs")
    return parser


if __name__ == "__main__":
    end_on_sigterm()
    raise SystemExit(main())
