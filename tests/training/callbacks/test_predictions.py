import csv
from types import SimpleNamespace

import torch

from gdino_lightning.data.batch import Batch, Target
from gdino_lightning.inference.postprocess import Detections
from gdino_lightning.inference.thresholds import Thresholds
from gdino_lightning.training.callbacks import PredictionsCSV


def target(image_id: int) -> Target:
    return Target(image_id, f"/x/p{image_id}.png", 400, 300, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None)


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def test_rows_are_thresholded_suppressed_and_written_once(tmp_path):
    callback = PredictionsCSV(score_threshold=0.3, nms_iou=0.5)
    trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"), world_size=1, global_rank=0)
    module = SimpleNamespace(class_names=["hat", "cup"])
    box, apart = [10.0, 20.0, 50.0, 80.0], [200.0, 100.0, 240.125, 160.0]
    first = found((box, 0.9, 1), (box, 0.8, 1), (box, 0.7, 0), (apart, 0.31, 1), (apart, 0.29, 0))
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool), [target(1), target(0)])
    callback.on_predict_start(trainer, module)
    for _ in range(2):  # the second time as a padded sampler would
        callback.on_predict_batch_end(trainer, module, [first, found((apart, 0.5, 0))], batch, 0)
    callback.on_predict_end(trainer, module)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["predictions.csv"]
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    got = [(r["image_name"], r["label_name"], r["score"], r["bbox_x1"], r["bbox_x2"]) for r in rows]
    assert got == [
        ("p0.png", "hat", "0.5", "200.0", "240.12"),
        ("p1.png", "cup", "0.9", "10.0", "50.0"),
        ("p1.png", "hat", "0.7", "10.0", "50.0"),
        ("p1.png", "cup", "0.31", "200.0", "240.12"),
    ]
    assert rows[0]["image_width"] == "400"


def test_the_calibrated_thresholds_are_used_unless_others_are_asked_for(tmp_path):
    module = SimpleNamespace(class_names=["hat", "cup"], thresholds=Thresholds((0.8, 0.1), (0.5, 0.95)))
    box, near = [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 90.0]
    both = found((box, 0.9, 0), (box, 0.7, 0), (box, 0.6, 1), (near, 0.2, 1))
    batch = Batch(torch.zeros(1, 3, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool), [target(0)])

    def scores(**settings):
        callback = PredictionsCSV(**settings)
        trainer = SimpleNamespace(default_root_dir=str(tmp_path), world_size=1, global_rank=0)
        callback.on_predict_batch_end(trainer, module, [both], batch, 0)
        callback.on_predict_end(trainer, module)
        with (tmp_path / "predictions.csv").open() as file:
            return [float(row["score"]) for row in csv.DictReader(file)]

    assert scores() == [0.9, 0.6, 0.2]
    assert scores(score_threshold=0.65) == [0.9]
    assert scores(score_threshold=0.1, nms_iou=1.0) == [0.9, 0.7, 0.6, 0.2]
    module.thresholds = None
    assert scores() == [0.9, 0.6]
