"""The report of runs that find everything in one epoch and nothing in others."""

import base64
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lxml import html
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Batch
from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.records import load_records
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.model.pretrained import CHECKPOINT_KEY
from gdino_lightning.training.callbacks.checkpoints import EpochCheckpoints
from gdino_lightning.training.callbacks.report import RunReport
from gdino_lightning.training.metrics_csv import MetricsCSVLogger
from gdino_lightning.training.scored import ScoredModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
CLASSES = ["with_mask", "without_mask", "mask_weared_incorrect"]
PLOTS = {
    "calibration", "change", "confusion", "loss", "map", "map_classes", "map_sizes", "over_detection",
    "precision_recall", "sizes",
}  # fmt: skip


class Finder(ScoredModule):
    """Finds all objects in one epoch of validation, nothing in the others; can fail in an epoch."""

    def __init__(self, good_epoch: int = 0, fails_in: int | None = None) -> None:
        super().__init__(CLASSES)
        self.layer = torch.nn.Linear(1, 1)
        self.good_epoch, self.fails_in = good_epoch, fails_in

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == self.fails_in:
            raise FloatingPointError("loss is not finite")
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        good = self.current_epoch == self.good_epoch and not self.trainer.sanity_checking
        self.val_map.update([found(target, good) for target in batch.targets], batch.targets)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.test_map.update([found(target, True) for target in batch.targets], batch.targets)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint[CHECKPOINT_KEY] = {"thresholds": None}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def found(target, good: bool) -> Detections:
    count = len(target.labels) if good else 0
    return Detections(target.boxes_px[:count], torch.full((count,), 0.9), target.labels[:count])


def pictures(drawn: Path) -> DetectionDataModule:
    return DetectionDataModule(
        str(drawn), CLASSES, val=0.5, batch_size=8, short_side=64, long_side_max=64, canvas_multiple=64, num_workers=0
    )


def trainer_in(folder: Path, **settings: object) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": [RunReport(num_pictures=2), EpochCheckpoints(keep=1)],
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_epochs": 2,
            "num_sanity_val_steps": -1,
            "logger": MetricsCSVLogger(folder),
            "log_every_n_steps": 1,
            **settings,
        }
    )


def page_of(folder: Path) -> html.HtmlElement:
    return html.document_fromstring((folder / "report" / "report.html").read_text(encoding="utf-8"))


def headline(page: html.HtmlElement, name: str) -> str:
    return page.xpath(f"//div[dt = '{name}']//strong")[0].text


@pytest.mark.slow
def test_fit_ends_with_the_report_of_the_best_epoch_with_plots_and_pictures(tmp_path, drawn):
    board = TensorBoardLogger(tmp_path, name="", version="")
    trainer_in(tmp_path, logger=[board, MetricsCSVLogger(tmp_path)]).fit(
        Finder(good_epoch=0), datamodule=pictures(drawn)
    )
    page = page_of(tmp_path)
    assert headline(page, "mAP") == "1.000"
    assert headline(page, "mAP before training") == "0.000"
    assert "epoch-00.ckpt on the validation split: 8 pictures" in page.xpath("//header/p")[0].text
    files = {path.stem: path.read_bytes() for path in (tmp_path / "report").glob("*.png")}
    assert set(files) == PLOTS
    embedded = [base64.b64decode(source.split(",")[1]) for source in page.xpath("//img/@src")]
    assert set(files.values()) <= set(embedded)
    assert len(embedded) == len(PLOTS) + 4  # two best pictures, two worst
    assert len(list((tmp_path / "report").glob("*_pictures.jpg"))) == 2
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    shown = {f"report/validation/{name}" for name in (*PLOTS, "best_pictures", "worst_pictures")}
    assert set(events.Tags()["images"]) == shown


@pytest.mark.slow
def test_records_stay_as_long_as_their_checkpoint(tmp_path, drawn):
    trainer_in(tmp_path, max_epochs=4).fit(Finder(good_epoch=0), datamodule=pictures(drawn))
    checkpoints = {path.stem for path in (tmp_path / "checkpoints").glob("epoch-*.ckpt")}
    kept = {path.stem for path in (tmp_path / "report" / "records").iterdir()}
    assert checkpoints == {"epoch-03"}
    assert kept == {"epoch-00", "epoch-02", "epoch-03"}  # in best.ckpt, on the disk until a moment ago, newest
    seen = load_records(tmp_path / "report" / "records" / "epoch-00.npz")
    assert seen.class_names == tuple(CLASSES)
    assert all(len(record.labels) == len(record.truth_labels) for record in seen.records)


@pytest.mark.slow
def test_test_renews_the_report(tmp_path, drawn):
    module = Finder(good_epoch=5)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module, datamodule=pictures(drawn))
    assert headline(page_of(tmp_path), "mAP") == "0.000"
    trainer_in(tmp_path).test(module, datamodule=pictures(drawn), verbose=False)
    page = page_of(tmp_path)
    assert headline(page, "mAP") == "1.000"
    assert "on the test split: 8 pictures" in page.xpath("//header/p")[0].text


@pytest.mark.slow
def test_a_resumed_run_tells_of_the_best_epoch_before(tmp_path, drawn):
    trainer_in(tmp_path, max_epochs=1).fit(Finder(good_epoch=0), datamodule=pictures(drawn))
    again = trainer_in(tmp_path, max_epochs=2, num_sanity_val_steps=0)
    again.fit(Finder(good_epoch=0), datamodule=pictures(drawn), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert (tmp_path / "report" / "records" / "epoch-01.npz").exists()
    assert "epoch-00.ckpt" in page_of(tmp_path).xpath("//header/p")[0].text
    assert headline(page_of(tmp_path), "mAP") == "1.000"


@pytest.mark.slow
def test_a_failed_fit_ends_with_a_report_and_its_own_error(tmp_path, drawn):
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer_in(tmp_path).fit(Finder(fails_in=1), datamodule=pictures(drawn))
    assert headline(page_of(tmp_path), "mAP") == "1.000"


def test_a_fit_that_fails_at_once_and_a_dry_run_write_nothing(tmp_path, drawn):
    with pytest.raises(FloatingPointError):
        trainer_in(tmp_path).fit(Finder(fails_in=0), datamodule=pictures(drawn))
    trainer_in(tmp_path, fast_dev_run=True).fit(Finder(), datamodule=pictures(drawn))
    assert not (tmp_path / "report").exists()


def test_pictures_without_files_have_no_report(tmp_path, drawn):
    data = pictures(drawn)
    data.setup("fit")
    batches = DataLoader([batch for batch in data.val_dataloader()], batch_size=None)
    trainer_in(tmp_path, max_epochs=1).fit(Finder(), batches, batches)
    assert not (tmp_path / "report").exists()


def test_a_negative_number_of_pictures_is_refused():
    with pytest.raises(ConfigError, match="num_pictures is -1"):
        RunReport(num_pictures=-1)
