"""report.html: what a run did and how good it is, written when training ends and again when it is tested."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.data.images import decode_rgb
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.records import RecordSet, load_records, save_records
from gdino_lightning.evaluation.report.gallery import gallery_sections
from gdino_lightning.evaluation.report.page import render
from gdino_lightning.evaluation.report.sections import Subject
from gdino_lightning.files import write_atomic
from gdino_lightning.inference.draw import save_jpeg
from gdino_lightning.model.pretrained import CHECKPOINT_KEY, read_checkpoint
from gdino_lightning.signals import is_ending
from gdino_lightning.training.callbacks.report_page import RunHistory, report_page
from gdino_lightning.training.callbacks.store_records import name_records
from gdino_lightning.training.environment import environment
from gdino_lightning.training.scored import ScoredModule

REPORT = "report"  # folder in that of the run

logger = logging.getLogger(__name__)


class RunReport(Callback):
    """Writes `report/report.html` in the trainer's `default_root_dir`: one file that opens offline.

    After `fit`, also one that fails, it tells of the validation of the epoch in `best.ckpt` (without one,
    of the newest); after `test`, of the test split. Plots lie beside it as PNG and contact sheets of pictures as JPEG;
    TensorBoard has them under `report/`. What an epoch saw is kept in `report/records/epoch-NN.npz` as long as its
    weights are, so that a resumed run can tell of an epoch before. A drawn world, which has no files, gets no report.

    Args:
        num_pictures: Best and worst pictures, each; 0 for none.

    Raises:
        ConfigError: `num_pictures` is negative.
    """

    def __init__(self, num_pictures: int = 12) -> None:
        super().__init__()
        if num_pictures < 0:
            raise ConfigError(f"report: num_pictures is {num_pictures}, expected 0 or more")
        self.num_pictures = num_pictures

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what this epoch saw, and forget epochs whose checkpoint is gone."""
        loader = _stored_pictures(trainer, trainer.val_dataloaders)
        if loader is None or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        module, folder = cast(ScoredModule, pl_module), _records_folder(trainer)
        kept = {path.stem for path in _checkpoint_folder(trainer).glob("epoch-*.ckpt")}
        if best := _best_checkpoint(trainer):
            kept.add(_stem(best["epoch"]))
        for file in folder.glob("epoch-*.npz"):
            if file.stem not in kept:
                file.unlink()
        seen = name_records(module.last_records["val"], module, loader)
        save_records(folder / f"{_stem(trainer.current_epoch)}.npz", seen)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell of what there is when training fails; what a signal ends has no time for pictures."""
        if trainer.state.fn == TrainerFn.FITTING and not is_ending(exception):
            self._report_fit(trainer, cast(ScoredModule, pl_module))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write when every other callback has ended: thresholds and scores are complete."""
        module = cast(ScoredModule, pl_module)
        if stage == TrainerFn.FITTING:
            self._report_fit(trainer, module)
        elif stage == TrainerFn.TESTING and "test" in module.last_records:
            self._report_test(trainer, module)

    def _report_fit(self, trainer: Trainer, module: ScoredModule) -> None:
        loader = _stored_pictures(trainer, trainer.val_dataloaders)
        newest = max(_records_folder(trainer).glob("epoch-*.npz"), key=_epoch_of, default=None)
        if loader is None or newest is None:
            return
        file, calibrated = newest, module.calibrated
        if best := _best_checkpoint(trainer):
            chosen = newest.with_name(f"{_stem(best['epoch'])}.npz")
            if chosen.exists():
                file, calibrated = chosen, best[CHECKPOINT_KEY]["thresholds"]
        subject = _subject("validation", load_records(file), calibrated)
        self._write(trainer, loader, subject, _epoch_of(file), trainer.global_step)

    def _report_test(self, trainer: Trainer, module: ScoredModule) -> None:
        if loader := _stored_pictures(trainer, trainer.test_dataloaders):
            seen = name_records(module.last_records["test"], module, loader)
            self._write(trainer, loader, _subject("test", seen, module.calibrated), *module.trained)

    def _write(
        self, trainer: Trainer, loader: DataLoader[list[Sample]], subject: Subject, epoch: int, step: int
    ) -> None:
        run, paths = Path(trainer.default_root_dir), cast(DetectionDataset, loader.dataset).paths
        galleries, sheets = gallery_sections(subject, paths, self.num_pictures)
        page = report_page(run, RunHistory.read(run / "metrics.csv", epoch), subject, galleries, environment(trainer))
        plots = {plot.name: plot.data for section in page.sections for plot in section.plots}
        for name, data in plots.items():
            write_atomic(run / REPORT / f"{name}.png", data)
        for name, sheet in sheets.items():
            save_jpeg(sheet, run / REPORT / f"{name}.jpg")
        write_atomic(run / REPORT / "report.html", render(page).encode())
        logger.info("report: %s", run / REPORT / "report.html")
        images = {name: decode_rgb(data, name) for name, data in plots.items()} | sheets
        for board in [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]:
            for name, image in images.items():
                board.experiment.add_image(f"report/{subject.split}/{name}", image, step, dataformats="HWC")


def _stored_pictures(trainer: Trainer, loader: object) -> DataLoader[list[Sample]] | None:
    """Return the loader if a report is wanted of it: here, in no dry run, and of pictures that have files."""
    dry = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
    wanted = trainer.is_global_zero and not dry and isinstance(getattr(loader, "dataset", None), DetectionDataset)
    return cast(DataLoader[list[Sample]], loader) if wanted else None


def _subject(split: str, seen: RecordSet, calibrated: Mapping[str, Any] | None) -> Subject:
    return Subject(split, seen, None if calibrated is None else Calibration.from_plain(calibrated))


def _records_folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / REPORT / "records"


def _checkpoint_folder(trainer: Trainer) -> Path:
    dirpath = getattr(trainer.checkpoint_callback, "dirpath", None)
    return Path(dirpath or Path(trainer.default_root_dir) / "checkpoints")


def _best_checkpoint(trainer: Trainer) -> dict[str, Any] | None:
    """Read best.ckpt, whose tensors stay on the disk; None while there is none."""
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", ""))
    return read_checkpoint(best) if best.is_file() else None


def _stem(epoch: int) -> str:
    """File name of an epoch, as its checkpoint has it."""
    return f"epoch-{epoch:02d}"


def _epoch_of(file: Path) -> int:
    return int(file.stem.removeprefix("epoch-"))
