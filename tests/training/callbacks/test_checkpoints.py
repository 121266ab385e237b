import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from full_disk import die, fail_within
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from ranks import on_ranks
from torch.utils.data import DataLoader, TensorDataset

from gdino_lightning.errors import ConfigError
from gdino_lightning.evaluation.calibration import Calibration
from gdino_lightning.evaluation.records import PictureRecord
from gdino_lightning.evaluation.reliability import Reliability
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.training.callbacks.checkpoints import EpochCheckpoints, _link
from gdino_lightning.training.checkpoint_io import with_whole_checkpoints
from gdino_lightning.training.scored import ScoredModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and folders
NAN = float("nan")
STEPS = 3  # in an epoch


class Toy(LightningModule):
    """Learns a line with momentum; its val/map is a given number for each epoch."""

    def __init__(self, maps: Sequence[float]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.maps = maps
        self.trained: list[tuple[int, int]] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.trained.append((self.current_epoch, self.global_step))
        loss = (self.layer(batch[0]) - 1).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val/map", torch.tensor(self.maps[self.current_epoch]))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StopIn(Callback):
    """Raises in the middle of an epoch, as a kill would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.current_epoch == self.epoch:
            raise InterruptedError


def fit(
    folder: Path,
    maps: Sequence[float],
    *callbacks: Callback,
    checkpoints: EpochCheckpoints | None = None,
    resume: bool = False,
    module: LightningModule | None = None,
    **settings: object,
) -> tuple[LightningModule, EpochCheckpoints]:
    torch.set_num_threads(1)
    checkpoints = checkpoints or EpochCheckpoints()
    trainer = Trainer(
        **{
            "max_epochs": len(maps),
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "callbacks": [checkpoints, *callbacks],
            "default_root_dir": folder,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "plugins": with_whole_checkpoints(None),
            **settings,
        }
    )
    module = module or Toy(maps)
    data = torch.linspace(0, 1, 2 * STEPS).reshape(-1, 1)
    loader = DataLoader(TensorDataset(data), batch_size=2)
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(module, loader, loader, ckpt_path=last if resume else None, weights_only=True if resume else None)
    return module, checkpoints


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def load(folder: Path, name: str) -> dict[str, object]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    _, checkpoints = fit(tmp_path, [0.1, 0.5, 0.2, 0.4, 0.3, 0.0], checkpoints=EpochCheckpoints(keep=3))
    assert files(tmp_path) == {"epoch-01.ckpt", "epoch-03.ckpt", "epoch-05.ckpt", "best.ckpt", "last.ckpt"}
    assert checkpoints.best_epoch == 1
    assert checkpoints.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    best, of_epoch = load(tmp_path, "best.ckpt"), load(tmp_path, "epoch-01.ckpt")
    assert best["epoch"] == of_epoch["epoch"] == 1
    assert torch.equal(best["state_dict"]["layer.weight"], of_epoch["state_dict"]["layer.weight"])


def test_only_last_holds_the_optimizer(tmp_path: Path) -> None:
    fit(tmp_path, [0.1, 0.2])
    assert "optimizer_states" not in load(tmp_path, "best.ckpt")
    assert "optimizer_states" not in load(tmp_path, "epoch-01.ckpt")
    assert load(tmp_path, "last.ckpt")["optimizer_states"]


@pytest.mark.parametrize(
    ("mode", "maps", "best"),
    [
        ("min", [0.5, 0.1, 0.3], 1),
        ("max", [0.5, 0.5], 0),
        ("max", [NAN, 0.1, NAN], 1),
        ("min", [-1.0, NAN], 0),
    ],
)
def test_best_by_mode_first_of_equals_never_nan(tmp_path: Path, mode: str, maps: list[float], best: int) -> None:
    _, checkpoints = fit(tmp_path, maps, checkpoints=EpochCheckpoints(mode=mode))
    assert checkpoints.best_epoch == best
    assert load(tmp_path, "best.ckpt")["epoch"] == best


def test_nan_alone_gives_no_best(tmp_path: Path) -> None:
    _, checkpoints = fit(tmp_path, [NAN, NAN], checkpoints=EpochCheckpoints(keep=1))
    assert files(tmp_path) == {"epoch-01.ckpt", "last.ckpt"}
    assert checkpoints.best_model_path == ""


def test_an_epoch_without_validation_has_no_score(tmp_path: Path) -> None:
    # validations after epochs 1 and 3; a stale value must not make epoch 2 a candidate
    _, checkpoints = fit(tmp_path, [0.9, 0.2, 0.9, 0.1], check_val_every_n_epoch=2, num_sanity_val_steps=0)
    scores = {epoch: each["score"] for epoch, each in checkpoints.state_dict()["scores"].items()}
    assert scores == {"1": pytest.approx(0.2), "3": pytest.approx(0.1)}
    assert load(tmp_path, "best.ckpt")["epoch"] == 1


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    maps = [0.1, 0.4, 0.3, 0.2]
    whole, expected = fit(tmp_path / "whole", maps)
    first, _ = fit(tmp_path / "broken", maps, max_epochs=2)
    second, checkpoints = fit(tmp_path / "broken", maps, resume=True)
    assert first.trained + second.trained == whole.trained
    assert whole.trained == [(epoch, STEPS * epoch + i) for epoch in range(4) for i in range(STEPS)]
    assert torch.equal(second.layer.weight, whole.layer.weight)  # momentum and rate went on
    assert checkpoints.state_dict() == expected.state_dict()
    assert checkpoints.best_epoch == 1
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_a_resumed_run_killed_within_an_epoch_and_resumed_again(tmp_path: Path) -> None:
    maps = [0.1, 0.4, 0.3, 0.2, 0.5]
    whole, _ = fit(tmp_path / "whole", maps)
    fit(tmp_path / "broken", maps, max_epochs=1)
    for epoch in (1, 2):
        with pytest.raises(InterruptedError):
            fit(tmp_path / "broken", maps, StopIn(epoch), resume=True)
    last, checkpoints = fit(tmp_path / "broken", maps, resume=True)
    assert last.trained == whole.trained[2 * STEPS :]
    assert torch.equal(last.layer.weight, whole.layer.weight)
    assert checkpoints.best_epoch == 4


@pytest.mark.parametrize("name", ["epoch-02.ckpt", "last.ckpt"])
@pytest.mark.timeout(120)
def test_a_run_killed_while_it_writes_resumes_from_the_epoch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    maps = [0.1, 0.4, 0.3, 0.2]
    whole, expected = fit(tmp_path / "whole", maps)
    folder = tmp_path / "broken"
    fit(folder, maps, max_epochs=2)
    with monkeypatch.context() as patched:
        fail_within(patched, folder / "checkpoints" / name, 1000, die)
        killed = mp.get_context("fork").Process(target=fit, args=(folder, maps), kwargs={"resume": True})
        killed.start()
        killed.join()
    assert killed.exitcode == -9
    assert f".{name}.part" in files(folder)
    assert load(folder, "last.ckpt")["epoch"] == 1
    last, checkpoints = fit(folder, maps, resume=True)
    assert torch.equal(last.layer.weight, whole.layer.weight)
    assert checkpoints.state_dict() == expected.state_dict()
    assert files(folder) == files(tmp_path / "whole")


def test_a_start_sweeps_up_half_written_checkpoints_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    ours, others = {".epoch-17.ckpt.part", ".best.ckpt.part"}, {".interpolated-0.50.ckpt.part", "notes.part"}
    for name in ours | others:
        (tmp_path / "checkpoints" / name).write_bytes(b"half")
    fit(tmp_path, [0.1])
    assert files(tmp_path) == {"epoch-00.ckpt", "best.ckpt", "last.ckpt"} | others


def test_a_half_made_link_to_an_epoch_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    fit(tmp_path, [0.1])
    epoch = tmp_path / "checkpoints" / "epoch-00.ckpt"
    before = epoch.read_bytes()
    os.link(epoch, tmp_path / "checkpoints" / ".best.ckpt.part")  # what a kill within `_link` leaves
    monkeypatch.setattr(os, "link", refuse)
    other = tmp_path / "other"
    other.write_bytes(b"another epoch")
    _link(other, tmp_path / "checkpoints" / "best.ckpt")
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == b"another epoch"
    assert epoch.read_bytes() == before
    assert files(tmp_path) == {"epoch-00.ckpt", "best.ckpt", "last.ckpt"}


def test_early_stopping_continues_its_count(tmp_path: Path) -> None:
    maps = [0.5, 0.4, 0.3, 0.2, 0.1]

    def patience() -> EarlyStopping:
        return EarlyStopping("val/map", mode="max", patience=3)

    fit(tmp_path, maps, patience(), max_epochs=3)
    module, _ = fit(tmp_path, maps, patience(), resume=True)
    assert {epoch for epoch, _ in module.trained} == {3}


def test_resuming_in_another_folder_chooses_among_new_epochs(tmp_path: Path) -> None:
    fit(tmp_path / "a", [0.9, 0.1])
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    (tmp_path / "a" / "checkpoints" / "last.ckpt").rename(last)
    _, checkpoints = fit(tmp_path / "b", [0.9, 0.1, 0.2, 0.3], resume=True)
    assert checkpoints.best_epoch == 3
    assert load(tmp_path / "b", "best.ckpt")["epoch"] == 3


def test_lightning_finds_the_best(tmp_path: Path) -> None:
    _, checkpoints = fit(tmp_path, [0.5, 0.1])
    trainer = Trainer(callbacks=[checkpoints], accelerator="cpu", logger=False, enable_progress_bar=False)
    module = Toy([0.5])
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    trainer.validate(module, loader, ckpt_path="best", weights_only=True, verbose=False)
    assert torch.equal(module.layer.weight, load(tmp_path, "best.ckpt")["state_dict"]["layer.weight"])
    assert checkpoints.best_epoch == 0


def test_a_monitor_that_nobody_logs_is_named_after_the_first_validation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'val/mAP', but the logged metrics are: train/loss, val/map"):
        fit(tmp_path, [0.1], checkpoints=EpochCheckpoints(monitor="val/mAP"))
    assert not (tmp_path / "checkpoints").exists()


def test_a_monitor_without_validation_is_an_error_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit_val_batches"):
        fit(tmp_path, [0.1], limit_val_batches=0)


def test_a_metric_of_training_can_be_monitored(tmp_path: Path) -> None:
    checkpoints = EpochCheckpoints(monitor="train/loss", mode="min")
    fit(tmp_path, [0.1, 0.1, 0.1], checkpoints=checkpoints, limit_val_batches=0)
    assert set(checkpoints.state_dict()["scores"]) == {"0", "1", "2"}


def test_settings_that_cannot_be_used_are_errors() -> None:
    with pytest.raises(ConfigError, match="'max' or 'min'"):
        EpochCheckpoints(mode="best")
    with pytest.raises(ConfigError, match="keep is 0"):
        EpochCheckpoints(keep=0)


def test_fast_dev_run_saves_nothing(tmp_path: Path) -> None:
    fit(tmp_path, [0.1], fast_dev_run=True)
    assert not (tmp_path / "checkpoints").exists()


class Finder(ScoredModule):
    """Finds so many of 100 objects in each epoch, and nothing else: its mAP is that share, its error follows."""

    training_step, configure_optimizers = Toy.training_step, Toy.configure_optimizers

    def __init__(self, found: Sequence[int], calibrated: Sequence[Calibration | None] = ()) -> None:
        super().__init__(["thing"])
        self.layer = torch.nn.Linear(1, 1)
        self.trained: list[tuple[int, int]] = []
        self.found, self.by_epoch = found, calibrated

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val/map", torch.tensor(self.found[self.current_epoch] / 100))

    def on_validation_epoch_end(self) -> None:
        box, none = np.array([[0, 0, 9, 9]], np.float32), np.zeros((0, 4), np.float32)
        label, one = np.zeros(1, np.int64), np.ones(1, np.float32)
        hit, miss = (box, one, label), (none, one[:0], label[:0])
        count = self.found[self.current_epoch]
        self.last_records["val"] = [PictureRecord(i, box, label, *(hit if i < count else miss)) for i in range(100)]
        self.calibrated = self.by_epoch[self.current_epoch].to_plain() if self.by_epoch else None


def calibrated(ece: float) -> Calibration:
    """A calibration that leaves so much error; all boxes count."""
    curve = Reliability(ece, ())
    return Calibration(Thresholds.fixed(1), (), curve, curve, 30, None)


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([50, 64, 68, 66], 1),  # the standard error of a share of .68 of 100 is .047: 64 cannot be told from 68
        ([50, 60, 68, 66], 2),
        ([60, 64, 68, 72], 2),  # 68 is within .045 of 72: best.ckpt moves on to an epoch that is not the newest
    ],
)
def test_of_epochs_within_one_standard_error_of_the_best_the_earliest_is_chosen(
    tmp_path: Path, found: list[int], best: int
) -> None:
    _, checkpoints = fit(tmp_path, [0.0] * len(found), module=Finder(found))
    assert checkpoints.best_epoch == best
    assert load(tmp_path, "best.ckpt")["epoch"] == best


def test_an_earlier_epoch_that_is_clearly_worse_calibrated_is_not_chosen(tmp_path: Path) -> None:
    module = Finder([64, 68, 66], [calibrated(0.20), calibrated(0.05), calibrated(0.05)])
    _, checkpoints = fit(tmp_path, [0.0] * 3, module=module)
    assert checkpoints.best_epoch == 1
    assert load(tmp_path, "best.ckpt")["epoch"] == 1


def test_only_epochs_on_the_disk_are_chosen_and_resuming_changes_nothing(tmp_path: Path) -> None:
    found = [60, 64, 68, 72, 50, 76, 77]

    def keep_two() -> EpochCheckpoints:
        return EpochCheckpoints(keep=2)

    _, whole = fit(tmp_path / "whole", [0.0] * 7, module=Finder(found), checkpoints=keep_two())
    fit(tmp_path / "broken", [0.0] * 7, module=Finder(found), checkpoints=keep_two(), max_epochs=4)
    _, resumed = fit(tmp_path / "broken", [0.0] * 7, module=Finder(found), checkpoints=keep_two(), resume=True)
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.best_epoch == load(tmp_path / "broken", "best.ckpt")["epoch"]
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    on_disk = {int(name[6:8]) for name in files(tmp_path / "whole") if name.startswith("epoch")}
    assert len(on_disk) == 2
    assert whole.best_epoch in on_disk


def test_a_run_of_an_early_version_resumes_with_its_scores(tmp_path: Path) -> None:
    checkpoints = EpochCheckpoints()
    checkpoints.load_state_dict({"scores": {"0": 0.2, "1": 0.5, "2": 0.4}})
    assert checkpoints.best_epoch == 1


def _fit_on_two(rank: int, folder: Path) -> None:
    fit(folder, [0.1, 0.3, 0.2], checkpoints=EpochCheckpoints(keep=2), strategy="ddp", devices=2)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_processes_write_one_set_of_files(tmp_path: Path) -> None:
    on_ranks(_fit_on_two, tmp_path)
    assert files(tmp_path) == {"epoch-01.ckpt", "epoch-02.ckpt", "best.ckpt", "last.ckpt"}
    assert load(tmp_path, "best.ckpt")["epoch"] == 1
