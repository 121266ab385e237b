"""What a test found, kept for later comparisons."""

from pathlib import Path
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Sample
from gdino_lightning.data.dataset import DetectionDataset
from gdino_lightning.evaluation.records import TEST_RECORDS, PictureRecord, RecordSet, save_records
from gdino_lightning.training.scored import ScoredModule


class StoreRecords(Callback):
    """Writes the test's pictures, true boxes and detections to `report/records-test.npz`, for `gdino compare`."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            module = cast(ScoredModule, pl_module)
            loader = cast(DataLoader[list[Sample]], trainer.test_dataloaders)
            found = name_records(module.last_records["test"], module, loader)
            save_records(Path(trainer.default_root_dir) / TEST_RECORDS, found)


def name_records(records: list[PictureRecord], module: ScoredModule, loader: DataLoader[list[Sample]]) -> RecordSet:
    """Add the names of the classes and of the pictures, which `loader` gave, to records."""
    paths = cast(DetectionDataset, loader.dataset).paths
    names = tuple(paths[record.image_id].name for record in records)
    return RecordSet(tuple(module.val_map.class_names), names, tuple(records))
