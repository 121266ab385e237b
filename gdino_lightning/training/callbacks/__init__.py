"""What a run does between steps: checkpoints, pictures, plots."""

from gdino_lightning.training.callbacks.checkpoints import EpochCheckpoints
from gdino_lightning.training.callbacks.pictures import DetectionPictures
from gdino_lightning.training.callbacks.predictions import PredictionsCSV
from gdino_lightning.training.callbacks.results import ResultsPlot

__all__ = ["DetectionPictures", "EpochCheckpoints", "PredictionsCSV", "ResultsPlot"]
