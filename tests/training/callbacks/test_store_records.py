"""What a test leaves for comparisons, against what the parts find by hand."""

import numpy as np
import pytest
from lightning.pytorch import Trainer
from verb_runs import CLASSES, SIZES

from gdino_lightning.data.datamodule import DetectionDataModule
from gdino_lightning.evaluation.records import TEST_RECORDS, load_records
from gdino_lightning.training.callbacks.store_records import StoreRecords
from gdino_lightning.training.module import GroundingDinoModule


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_test_stores_what_it_found_under_the_names_of_the_pictures(drawn, tmp_path):
    module = GroundingDinoModule(CLASSES, weights="nano-random", top_k=20)
    data = DetectionDataModule(str(drawn), CLASSES, num_workers=0, **SIZES)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[StoreRecords()],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.test(module, datamodule=data, verbose=False)
    stored = load_records(tmp_path / TEST_RECORDS)
    assert list(stored.class_names) == CLASSES
    assert sorted(stored.picture_names) == sorted(path.name for path in (drawn / "test" / "images").iterdir())
    by_name = dict(zip(stored.picture_names, stored.records, strict=True))
    for number, batch in enumerate(data.test_dataloader()):
        for target, found in zip(batch.targets, module.predict_step(batch, number), strict=True):
            record = by_name[target.image_path.rsplit("/", 1)[1]]
            np.testing.assert_array_equal(record.truth_labels, target.labels.numpy())
            np.testing.assert_array_equal(record.truth_boxes, target.boxes_px.numpy())
            np.testing.assert_allclose(record.scores, np.sort(found.scores.numpy())[::-1], rtol=1e-4)
