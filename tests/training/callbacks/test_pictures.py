from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.inference.draw import color_of
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.training.callbacks.pictures import DetectionPictures

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
BOX = torch.tensor([[100.0, 100, 300, 300]])


class Finder(LightningModule):
    """Finds the same three boxes everywhere: a good one, its double, and one that is not sure."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.class_names = ["with_mask", "without_mask"]

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, list[Detections]]:
        boxes = torch.cat([BOX, BOX + 6, BOX + 150])
        found = Detections(boxes, torch.tensor([0.9, 0.8, 0.2]), torch.tensor([1, 1, 0]))
        return {"detections": [found for _ in batch.targets]}

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(folder: Path, count: int) -> DataLoader:
    targets = []
    for i in range(count):
        path = folder / f"picture{i:02d}.png"
        cv2.imwrite(str(path), np.full((480, 600, 3), 4 * i, dtype=np.uint8))
        targets.append(Target(i, str(path), 600, 480, BOX / 600, torch.tensor([0]), BOX))
    batches = [
        Batch(torch.zeros(2, 3, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool), targets[i : i + 2])
        for i in range(0, count, 2)
    ]
    return DataLoader(batches, batch_size=None)


def trainer_in(folder: Path, pictures: DetectionPictures, **settings: object) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": [pictures],
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "max_epochs": 2,
            "logger": False,
            "log_every_n_steps": 1,
            **settings,
        }
    )


def test_test_writes_pictures_over_the_whole_split_and_a_sheet(tmp_path: Path) -> None:
    pictures = DetectionPictures(num_test_pictures=4)
    trainer_in(tmp_path, pictures).test(Finder(), loader(tmp_path, 10), verbose=False)
    written = sorted(path.stem for path in (tmp_path / "report" / "test").iterdir())
    assert written == ["picture00", "picture03", "picture06", "picture09"]
    assert cv2.imread(str(tmp_path / "report" / "test.jpg")) is not None


def test_a_picture_shows_truth_and_the_sure_boxes_without_doubles(tmp_path: Path) -> None:
    trainer_in(tmp_path, DetectionPictures()).test(Finder(), loader(tmp_path, 2), verbose=False)
    image = cv2.imread(str(tmp_path / "report" / "test" / "picture00.jpg"))[:, :, ::-1].astype(int)
    assert image.shape[1] == 2 * 600 + 4
    top = 24  # px of the captions

    def has(color: tuple[int, int, int], left: int) -> bool:
        """Tell whether the left edge of the box at (100, 100) in a half has a colour; JPEG blurs a little."""
        return bool(np.abs(image[top + 200, left + 100] - color).max() < 60)

    assert has(color_of(0), 0)
    assert has(color_of(1), 604)
    background = image[top + 110 : top + 290, 604 + 110 : 604 + 290]
    assert background.max() < 60  # neither the double at 106 nor the one at 250 is drawn


def test_the_calibrated_thresholds_decide_what_is_drawn(tmp_path: Path) -> None:
    module = Finder()
    module.thresholds = Thresholds((0.1, 0.95), (0.5, 0.5))
    trainer_in(tmp_path, DetectionPictures()).test(module, loader(tmp_path, 2), verbose=False)
    image = cv2.imread(str(tmp_path / "report" / "test" / "picture00.jpg"))[:, :, ::-1].astype(int)
    assert np.abs(image[24 + 350, 604 + 250] - color_of(0)).max() < 60  # the unsure one
    assert image[24 + 110 : 24 + 240, 604 + 90 : 604 + 240].max() < 60  # not the sure ones of the other class


def test_fewer_pictures_than_asked_for_and_none(tmp_path: Path) -> None:
    trainer_in(tmp_path, DetectionPictures()).test(Finder(), loader(tmp_path, 2), verbose=False)
    assert len(list((tmp_path / "report" / "test").iterdir())) == 2
    none = tmp_path / "none"
    none.mkdir()
    pictures = DetectionPictures(num_test_pictures=0)
    trainer_in(none, pictures).test(Finder(), loader(tmp_path, 2), verbose=False)
    assert not (none / "report").exists()


def test_validation_shows_the_same_pictures_in_tensorboard_each_epoch(tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path, name="", version="")
    trainer = trainer_in(tmp_path, DetectionPictures(num_pictures=2), logger=board, num_sanity_val_steps=-1)
    trainer.fit(Finder(), loader(tmp_path, 4), loader(tmp_path, 6))
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert events.Tags()["images"] == ["val/pictures/0", "val/pictures/1"]
    shown = events.Images("val/pictures/1")
    assert [image.step for image in shown] == [0, 2, 4]  # before training, and after each epoch
    decoded = cv2.imdecode(np.frombuffer(shown[-1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert decoded[24 + 50, 50].tolist() == [20, 20, 20]  # picture05, the last of the split


def test_validation_without_tensorboard_draws_nothing(tmp_path: Path) -> None:
    trainer_in(tmp_path, DetectionPictures()).validate(Finder(), loader(tmp_path, 2), verbose=False)
    assert not (tmp_path / "report").exists()
